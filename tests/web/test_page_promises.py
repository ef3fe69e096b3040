"""What the page promises as a whole: small, nobody else asked, readable by everybody, phones included."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from service_running import Running
from web_page import Visit, example_files, visiting

FIRST_LOAD = 300_000
"""Bytes as sent, of everything but the viewer."""

ANDROID = "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36"


@pytest.fixture(scope="module")
def done(browser: Any, service: Running) -> str:
    """A job that has ended."""
    with visiting(browser, service.url) as visit:
        visit.go()
        visit.fill(example_files())
        job_id = visit.start()
        visit.wait_until("Done")
    return job_id


def test_first_load_is_small_and_the_viewer_comes_later(visit: Visit, done: str) -> None:
    visit.go()
    expect(visit.page.locator(".choice").first).to_be_visible()
    sent = visit.page.evaluate(
        """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
            .map((entry) => [entry.name, entry.transferSize])"""
    )
    total = sum(size for _, size in sent)
    print(f"first load: {total} bytes in {len(sent)} requests")
    assert 10_000 < total < FIRST_LOAD
    viewer = [url for url in visit.requests if "/assets/viewer" in url or "/assets/environments" in url]
    assert viewer == []
    visit.visit_job(done)
    expect(visit.page.locator(".viewer-host[data-state=ready]")).to_be_visible(timeout=60_000)
    assert [url for url in visit.requests if "/assets/viewer" in url]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing_serious(browser: Any, service: Running, done: str, scheme: str, width: int) -> None:
    # Colours on their way from one to another are nobody's to read.
    with visiting(browser, service.url, color_scheme=scheme, reduced_motion="reduce") as visit:
        page = visit.page
        page.set_viewport_size({"width": width, "height": 760})
        visit.go()
        expect(page.locator(".choice").first).to_be_visible()
        found = {"new": visit.accessibility()}
        visit.fill(example_files())
        page.get_by_text("Which file is which?").click()
        found["filled"] = visit.accessibility()
        assert not visit.is_too_wide()
        visit.visit_job(done)
        expect(page.locator(".viewer-host[data-state=ready]")).to_be_visible(timeout=60_000)
        found["result"] = visit.accessibility()
        assert not visit.is_too_wide()
        visit.go("#/jobs")
        expect(page.locator(".job-row").first).to_be_visible()
        found["jobs"] = visit.accessibility()
        assert not visit.is_too_wide()
    assert {name: faults for name, faults in found.items() if faults} == {}


def test_dark_and_light_can_be_chosen_and_stay(visit: Visit) -> None:
    visit.go()
    ground = "getComputedStyle(document.body).backgroundColor"
    light = visit.page.evaluate(ground)
    visit.page.get_by_role("button", name="Dark or light").click()
    assert visit.page.evaluate(ground) != light
    visit.page.reload()
    expect(visit.page.locator("h1")).to_be_visible()
    assert visit.page.evaluate(ground) != light


def test_phones_get_a_way_into_the_room(browser: Any, service: Running, done: str) -> None:
    with visiting(browser, service.url, user_agent=ANDROID, has_touch=True) as visit:
        visit.visit_job(done)
        link = visit.page.get_by_role("link", name="View in your room (AR)")
        expect(link).to_be_visible(timeout=60_000)
        address = link.get_attribute("href") or ""
        assert address.startswith("intent://arvr.google.com/scene-viewer/1.0?file=http")
        assert "mesh.glb" in address
    with visiting(browser, service.url) as visit:
        # Quick Look is asked for by what the browser says it can, as Safari does.
        visit.page.add_init_script(
            "const supports = DOMTokenList.prototype.supports;"
            "DOMTokenList.prototype.supports = function (word) { return word === 'ar' || supports.call(this, word); };"
        )
        visit.visit_job(done)
        button = visit.page.get_by_role("button", name="View in your room (AR)")
        expect(button).to_be_visible(timeout=60_000)
        with visit.page.expect_download() as coming:  # a browser without Quick Look downloads instead
            button.click()
        assert coming.value.path().read_bytes()[:2] == b"PK", "USDZ is a ZIP"


def test_unfolded_cube(visit: Visit) -> None:
    """Top and bottom hang on the front; left, front, right and back lie in a row."""
    visit.go()
    box = {}
    for view in ("front", "back", "left", "right", "top", "bottom"):
        found = visit.page.locator(f"[data-place='views/{view}']").bounding_box()
        assert found is not None
        box[view] = found
    assert box["top"]["x"] == box["front"]["x"] == box["bottom"]["x"]
    assert box["top"]["y"] < box["front"]["y"] < box["bottom"]["y"]
    row = [box[view] for view in ("left", "front", "right", "back")]
    assert len({item["y"] for item in row}) == 1
    assert [item["x"] for item in row] == sorted(item["x"] for item in row)


def test_viewer_controls(visit: Visit, done: str) -> None:
    page = visit.page
    visit.visit_job(done)
    expect(page.locator(".viewer-host[data-state=ready]")).to_be_visible(timeout=60_000)
    canvas = page.locator(".viewer-host canvas")
    seen = set()
    page.wait_for_timeout(500)
    seen.add(canvas.screenshot())
    page.get_by_label("Wireframe").check()
    page.wait_for_timeout(300)
    seen.add(canvas.screenshot())
    for light in ("overcast", "sunset"):
        page.get_by_label("Environment").select_option(light)
        page.wait_for_timeout(300)
        seen.add(canvas.screenshot())
    assert len(seen) == 4, "each control changes the picture"
    with page.expect_download() as coming:
        page.get_by_role("button", name="Save picture").click()
    assert coming.value.path().read_bytes()[:4] == b"\x89PNG"
    slider = page.get_by_label("How much of the left picture is shown")
    slider.focus()
    page.keyboard.press("End")
    expect(page.locator(".compare-box img.over")).to_have_css("clip-path", "inset(0px 0% 0px 0px)")
    page.get_by_role("radio", name="Mesh | Error").check()
    assert "render_00" in (page.locator(".compare-box img.over").get_attribute("src") or "")
    page.locator(".view-row input").nth(2).check()
    assert "render_02" in (page.locator(".compare-box img.over").get_attribute("src") or "")
