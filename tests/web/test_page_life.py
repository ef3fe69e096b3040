"""What happens while a job runs: cancelling, reloading, servers that go and come, several people, keys."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from service_running import Running, running
from service_stack import make_stack
from web_page import SCREENSHOTS, Visit, canvas_colours, example_files, visiting


@pytest.fixture
def slow_service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    """One that takes six seconds for a job."""
    with running(make_stack(request, "embedded", tmp_path), FAST_MODEL_STAGE_S="1.2") as found:
        yield found


def test_cancel_takes_two_steps(browser: Any, slow_service: Running) -> None:
    with visiting(browser, slow_service.url) as visit:
        page = visit.page
        visit.go()
        visit.fill(example_files())
        visit.start()
        visit.wait_until("Working")
        page.get_by_role("button", name="Cancel…").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("Cancel this job?")
        assert [fault for fault in visit.accessibility()] == []
        # Going back takes the first step back.
        page.get_by_role("button", name="Keep it running").click()
        expect(dialog).to_have_count(0)
        expect(page.locator("h1 .badge")).to_have_text("Working")
        page.get_by_role("button", name="Cancel…").click()
        page.get_by_role("button", name="Cancel the job").click()
        visit.wait_until("Cancelled", 10)
        expect(page.locator(".message")).to_contain_text("its files were removed")
        expect(page.get_by_role("button", name="Run again…")).to_have_count(0)
        visit.shoot("cancelled")

        # Reloaded in the middle of the next one: it goes on being shown, and pictures come.
        visit.go()
        visit.fill(example_files())
        job_id = visit.start()
        visit.wait_until("Working")
        page.reload()
        expect(page.locator("h1 code")).to_have_text(job_id)
        expect(page.locator(".live img").first).to_be_visible()
        visit.wait_until("Done")
        expect(page.locator(".viewer-host[data-state=ready]")).to_be_visible(timeout=60_000)


def test_server_killed_and_started_again_in_the_middle(browser: Any, slow_service: Running) -> None:
    with visiting(browser, slow_service.url) as visit:
        visit.go()
        visit.fill(example_files())
        visit.start()
        visit.wait_until("Working")
        if SCREENSHOTS:  # with its pictures drawn it looks better; without, they must come back
            visit.page.locator(".inputs img").evaluate_all("all => Promise.all(all.map((image) => image.decode()))")
        slow_service.stop(signal.SIGKILL)
        lost = visit.page.get_by_text("The connection is lost.")
        expect(lost).to_be_visible()
        visit.shoot("connection_lost")
        slow_service.start()
        expect(lost).to_be_hidden(timeout=60_000)
        visit.wait_until("Done", 90)  # nobody has touched the page
        expect(visit.page.locator(".viewer-host[data-state=ready]")).to_be_visible(timeout=60_000)
        broken = "images => images.filter((image) => image.complete && image.naturalWidth === 0).length"
        assert visit.page.locator(".inputs img").evaluate_all(broken) == 0, "pictures come back too"
        events = [url for url in visit.requests if url.endswith("/events")]
        assert len(events) >= 2, "it came back by itself"


def test_two_people_at_once(browser: Any, slow_service: Running) -> None:
    with visiting(browser, slow_service.url) as one, visiting(browser, slow_service.url) as two:
        ids = []
        for visit in (one, two):
            visit.go()
            visit.fill(example_files())
            ids.append(visit.start())
        assert ids[0] != ids[1]
        expect(two.page.locator(".progress-words")).to_contain_text("Next in the queue")
        two.shoot("waiting")
        one.wait_until("Done")
        two.wait_until("Done")
        one.page.get_by_role("link", name="Jobs").first.click()
        for job_id in ids:
            expect(one.page.locator(f"[data-job='{job_id}'] .badge")).to_have_text("Done")


def test_a_key_is_asked_for_and_kept(browser: Any, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with running(make_stack(request, "embedded", tmp_path), MESHWRIGHT_AUTH="on") as service:
        token = make_key(service)
        with visiting(browser, service.url) as visit:
            page = visit.page
            visit.go()
            expect(page.get_by_role("heading", name="This service needs a key")).to_be_visible()
            visit.shoot("key")
            assert visit.accessibility() == []
            page.get_by_label("API key", exact=True).fill("mw_wrong")
            page.get_by_role("button", name="Continue").click()
            expect(page.get_by_role("alert")).to_contain_text("not known")
            page.get_by_label("API key", exact=True).fill(token)
            page.get_by_role("button", name="Continue").click()
            visit.fill(example_files())
            visit.start()
            visit.wait_until("Done")  # events came, although they cannot carry a header
            expect(page.locator(".viewer-host[data-state=ready]")).to_be_visible(timeout=60_000)
            assert page.locator(".inputs img").first.evaluate("image => image.decode().then(() => image.naturalWidth)")
            with page.expect_download() as coming:
                page.get_by_role("link", name="Download ZIP").click()
            assert coming.value.path().stat().st_size > 1000
            assert page.evaluate("document.cookie") == "", "scripts do not see it"
            page.get_by_role("button", name="Forget the API key").click()
            expect(page.get_by_role("heading", name="This service needs a key")).to_be_visible()
            visit.go("#/jobs")
            page.reload()
            expect(page.get_by_role("heading", name="This service needs a key")).to_be_visible()


def make_key(service: Running) -> str:
    made = subprocess.run(
        [sys.executable, "-c", "from meshwright.cli.app import main; main()", "keys", "create", "page", "--json"],
        env=service.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(made.stdout)
    return str(next(value for value in answer.values() if str(value).startswith("mw_")))


def test_a_failed_job_says_why_and_can_be_run_again(
    browser: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with (
        running(make_stack(request, "embedded", tmp_path), FAST_MODEL_TROUBLE="oom") as service,
        visiting(browser, service.url) as visit,
    ):
        page = visit.page
        visit.go()
        visit.fill(example_files())
        first = visit.start()
        visit.wait_until("Failed")
        alert = page.get_by_role("alert").filter(has_text="It did not work")
        expect(alert).to_contain_text("MODEL_OOM")
        visit.shoot("failed")
        page.get_by_role("button", name="Run again…").click()
        page.get_by_role("dialog").locator("input[value=nvdiffrec]").check(force=True)
        visit.shoot("run_again")
        page.get_by_role("dialog").get_by_role("button", name="Start").click()
        expect(page.locator("h1 code")).not_to_have_text(first)
        expect(page.locator(".job-head")).to_contain_text("nvdiffrec, draft quality")
        visit.wait_until("Failed")


def test_jobs_are_listed_filtered_and_deleted(visit: Visit) -> None:
    page = visit.page
    ids = []
    for _ in range(2):
        visit.go()
        visit.fill(example_files())
        ids.append(visit.start())
        visit.wait_until("Done")
    page.get_by_role("link", name="Jobs").first.click()
    row = page.locator(f"[data-job='{ids[0]}']")
    expect(row).to_contain_text("30.0 dB good")
    assert row.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)")
    assert visit.accessibility() == []
    page.get_by_role("radio", name="Failed").check()
    expect(row).to_have_count(0)
    expect(page.locator(".empty")).to_contain_text("No such jobs.")
    page.get_by_role("radio", name="Done").check()
    expect(row).to_be_visible()
    page.get_by_role("button", name=f"Delete {ids[0]}").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    visit.go(f"#/jobs/{ids[0]}")
    page.reload()
    expect(page.locator(".message")).to_contain_text(f"There is no job '{ids[0]}'")


def test_two_results_side_by_side(visit: Visit) -> None:
    page = visit.page
    visit.go()
    visit.fill(example_files())
    visit.start("both")
    visit.wait_until("Done")
    expect(page.locator(".viewer-host[data-state=ready]")).to_have_count(2, timeout=60_000)
    page.wait_for_timeout(500)
    first, second = (page.locator(".viewer-host canvas").nth(index) for index in (0, 1))
    before = second.screenshot()
    first.focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(600)
    assert second.screenshot() != before, "both turn together"
    assert canvas_colours(first) > 20
    page.get_by_role("radio", name="nvdiffrec").check()
    expect(page.locator(".viewer-host")).to_have_count(1)
    assert visit.accessibility() == []
