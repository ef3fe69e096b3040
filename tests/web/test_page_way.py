"""The whole way, with a real model: dropped pictures, a picture that grows, a mesh that turns, a ZIP that opens."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

import meshwright.synth
from service_running import running
from service_stack import make_stack
from web_page import SCREENSHOTS, canvas_colours, visiting


@pytest.mark.slow
def test_from_dropped_pictures_to_a_downloaded_zip(
    browser: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    # With both models where pictures for the documentation are wanted, else with one, which takes half the time.
    model, size = ("both", 512) if SCREENSHOTS else ("reconviagen", 192)
    config = meshwright.synth.SynthConfig(plain=True, size=size, mesh_grid=48)
    meshwright.synth.write_example("toy_car", tmp_path / "toy_car", config)
    files = [
        (f"{kind}/{path.name}" if kind == "views" else f"{path.stem}_depth.png", path.read_bytes())
        for kind in ("views", "depth")
        for path in sorted((tmp_path / "toy_car" / kind).glob("*.png"))
    ]
    (tmp_path / "service").mkdir()
    stack = make_stack(request, "embedded", tmp_path / "service")
    with running(stack, MESHWRIGHT_MODEL_FACTORY="") as service, visiting(browser, service.url) as visit:
        visit.go()
        visit.shoot("new")
        visit.fill(files)
        expect(visit.page.locator(".checks li.good")).to_have_count(3)
        visit.shoot("filled")
        job_id = visit.start(model)

        # Stages show what they have reached.
        expect(visit.page.locator(".live img").nth(1)).to_be_visible(timeout=120_000)
        assert visit.page.locator(".live img").first.evaluate("image => image.decode().then(() => image.naturalWidth)")
        visit.shoot("running")
        visit.wait_until("Done", 400)

        page = visit.page
        if model == "both":
            expect(page.locator(".viewer-host[data-state=ready]")).to_have_count(2, timeout=60_000)
            visit.shoot("side_by_side")
            page.get_by_role("radio", name="nvdiffrec").check()
        expect(page.locator(".viewer-host[data-state=ready]")).to_have_count(1, timeout=60_000)
        canvas = page.locator(".viewer-host canvas")
        page.wait_for_timeout(500)
        for look in ("Unlit", "Clay", "Normals", "Lit"):
            page.get_by_role("radio", name=look, exact=True).check()
            page.wait_for_timeout(200)
            assert canvas_colours(canvas) > 200, f"the viewer shows nothing as {look}"
        expect(page.locator(".verdict-word")).to_contain_text("Good")
        expect(page.locator(".compare-box img.over")).to_be_visible()
        visit.shoot("result")

        if SCREENSHOTS:
            visit.shoot("result_top", whole=False)
            page.emulate_media(color_scheme="dark")
            visit.shoot("result_dark")
            page.emulate_media(color_scheme="light")

        with page.expect_download() as coming:
            page.get_by_role("link", name="Download ZIP").click()
        with zipfile.ZipFile(coming.value.path()) as archive:
            assert archive.testzip() is None
            last = "nvdiffrec" if model == "both" else model
            assert {f"{last}/mesh.glb", f"{last}/mesh.obj", f"{last}/quality.json"} <= set(archive.namelist())
            quality = json.load(io.BytesIO(archive.read(f"{last}/quality.json")))
            assert quality["mean"]["psnr"] > 25
        page.get_by_role("link", name="Jobs").first.click()
        expect(page.locator(f"[data-job='{job_id}']")).to_contain_text("good")
        if SCREENSHOTS:
            visit.shoot("jobs")
