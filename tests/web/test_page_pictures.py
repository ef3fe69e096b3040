"""How pictures get onto the page, whose place they take, and what is said about them before they are sent."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from meshwright.inputs.faults import Faults
from meshwright.inputs.names import match_names
from meshwright.types import VIEW_NAMES
from web_page import Visit, drop, example_files, paste, picture

NAMES = [
    [f"{view}.png" for view in VIEW_NAMES],
    [f"shoe_{view}_01.png" for view in reversed(VIEW_NAMES)],
    [f"view_{number:02d}.png" for number in (5, 4, 3, 2, 1, 0)],
    [f"{number}.png" for number in (3, 1, 2, 6, 5, 4)],
    ["a.png", "b.png", "c.png", "d.png", "e.png", "f.png"],
    ["FrontView.png", "rearView.png", "LEFT side.png", "right-side.png", "topview.png", "underside.png"],
    [f"top_hat_{view}.png" for view in VIEW_NAMES],
    [f"backpack{view}.png" for view in ("_front", "_back", "_left", "_right", "_top", "_bottom")],
]


def placed(visit: Visit) -> dict[str, str]:
    """What lies where, as a screen reader says it."""
    found = {}
    for slot in visit.page.locator(".cell.filled .slot").all():
        label = slot.get_attribute("aria-label") or ""
        found[slot.get_attribute("data-place") or ""] = label.split(": ", 1)[1].split(". Choose")[0]
    return found


@pytest.mark.parametrize("names", NAMES, ids=lambda names: names[0])
def test_names_are_read_as_the_engine_reads_them(visit: Visit, names: list[str]) -> None:
    faults = Faults()
    wanted, _ = match_names(names, "view", "views", faults)
    assert not faults.found
    visit.go()
    visit.fill([(name, picture()) for name in names], count=6)
    assert placed(visit) == {f"views/{view}": name for view, name in wanted.items()}


def test_twelve_at_once_and_what_was_matched_can_be_corrected(visit: Visit) -> None:
    visit.go()
    visit.fill(example_files())
    page = visit.page
    expect(page.locator(".remark")).to_have_text("12 of 12 files placed by their names.")
    assert placed(visit)["depth/left"] == "depth_left.png"
    page.get_by_text("Which file is which?").click()
    page.get_by_label("What front.png shows").select_option("views/back")
    assert placed(visit)["views/back"] == "front.png"
    assert placed(visit)["views/front"] == "back.png", "the two change places"
    page.get_by_label("What depth_top.png shows").select_option("")
    expect(page.locator(".checks")).to_contain_text("5 of 6 depth renders: give all six, or none. Missing: top.")
    expect(page.get_by_role("button", name="Make the mesh")).to_be_disabled()
    page.get_by_label("What depth_top.png shows").select_option("depth/top")
    expect(page.get_by_role("button", name="Make the mesh")).to_be_enabled()
    # Also by dragging one place onto another.
    page.locator("[data-place='views/front']").drag_to(page.locator("[data-place='views/back']"))
    assert placed(visit)["views/front"] == "front.png"


def test_a_single_file_goes_where_it_is_dropped(visit: Visit) -> None:
    visit.go()
    drop(visit.page, [("whatever.png", picture())], "[data-place='depth/top']")
    expect(visit.page.locator(".slot canvas")).to_have_count(1)
    assert placed(visit) == {"depth/top": "whatever.png"}


def test_zip(visit: Visit) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for view in VIEW_NAMES:
            archive.writestr(f"shoe/views/{view}.png", picture())
            archive.writestr(f"shoe/depth/{view}.png", picture())
            archive.writestr(f"__MACOSX/shoe/views/._{view}.png", b"shadow")
        archive.writestr("shoe/readme.txt", "hello")
    visit.go()
    visit.fill([("shoe.zip", stream.getvalue())])
    assert placed(visit)["depth/bottom"] == "bottom.png"
    drop(visit.page, [("broken.zip", b"PK\3\4 no more")])
    expect(visit.page.locator(".checks")).to_contain_text("broken.zip is not a ZIP, or not whole")


def test_folder(visit: Visit, tmp_path: Path) -> None:
    for kind in ("views", "depth_renders"):
        (tmp_path / "shoe" / kind).mkdir(parents=True)
        for view in VIEW_NAMES:
            (tmp_path / "shoe" / kind / f"{view}.png").write_bytes(picture())
    (tmp_path / "shoe" / "notes.txt").write_text("hello")
    visit.go()
    expect(visit.page.locator(".choice").first).to_be_visible()
    visit.page.locator("input[webkitdirectory]").set_input_files(tmp_path / "shoe")
    expect(visit.page.locator(".slot canvas")).to_have_count(12, timeout=40_000)
    expect(visit.page.get_by_role("button", name="Make the mesh")).to_be_enabled()


def test_paste_goes_to_the_place_in_focus(visit: Visit) -> None:
    visit.go()
    expect(visit.page.locator(".choice").first).to_be_visible()
    visit.page.locator("[data-place='views/left']").focus()
    paste(visit.page, [("image.png", picture())])
    expect(visit.page.locator(".slot canvas")).to_have_count(1)
    assert placed(visit) == {"views/left": "image.png"}
    visit.page.keyboard.press("Delete")
    expect(visit.page.locator(".slot canvas")).to_have_count(0)


def test_wrong_files_are_told_in_words(visit: Visit) -> None:
    jpeg = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(jpeg, "JPEG")
    files = dict(example_files())
    files["front.png"] = jpeg.getvalue()
    files["left.png"] = files["left.png"][:200]
    files["top.png"] = b""
    files["right.png"] = b"\x89PNG\r\n\x1a\n" + bytes(8) + b"\0\0\xff\xff\0\0\xff\xff\x08\2\0\0\0" + bytes(9)
    del files["bottom.png"]
    visit.go()
    drop(visit.page, list(files.items()))
    checks = visit.page.locator(".checks")
    expect(checks).to_contain_text("5 of 6 views: bottom is missing.")
    expect(checks).to_contain_text("front: front.png is a JPEG; PNG is needed.")
    expect(checks).to_contain_text("left: left.png cannot be opened: the file is damaged.")
    expect(checks).to_contain_text("top: top.png is empty.")
    expect(checks).to_contain_text("right: right.png has 65,535 x 65,535 pixels; at most 16,777,216 are accepted.")
    expect(visit.page.get_by_role("button", name="Make the mesh")).to_be_disabled()
    visit.shoot("wrong_files")
    drop(visit.page, [("front.png", picture())])
    expect(checks).not_to_contain_text("JPEG; PNG is needed.")
    assert [fault for fault in visit.accessibility() if "color" not in fault] == []


def test_what_only_the_service_can_know_is_shown(visit: Visit) -> None:
    """Names and fields of a refusal, and its suggestion."""
    refusal = {
        "type": "/docs#INVALID_FILE_FORMAT",
        "title": "A file is not what it should be",
        "status": 422,
        "detail": "1 file is not a usable PNG.",
        "error": "FileFormatError",
        "code": "INVALID_FILE_FORMAT",
        "fields": {"views": "front.png: it moves"},
        "suggestion": "Send whole, still PNG files.",
    }
    visit.go()
    visit.fill(example_files())
    visit.page.route("**/api/jobs", lambda route: route.fulfill(status=422, json=refusal))
    visit.page.get_by_role("button", name="Make the mesh").click()
    alert = visit.page.get_by_role("alert").filter(has_text="not a usable PNG")
    expect(alert).to_contain_text("front.png: it moves")
    expect(alert).to_contain_text("Send whole, still PNG files.")
    expect(visit.page.locator(".slot canvas")).to_have_count(12)


def test_six_views_without_depth_are_enough(visit: Visit) -> None:
    visit.go()
    visit.fill(example_files()[:6], count=6)
    visit.start()
    visit.wait_until("Done")
    expect(visit.page.locator(".inputs img")).to_have_count(6)


def test_missing_weights_are_said(visit: Visit) -> None:
    def without_reconviagen(route: object) -> None:
        answer = route.fetch()  # type: ignore[attr-defined]
        offer = answer.json()
        offer["models"][0] |= {"ready": False, "message": "The weights of reconviagen are not installed."}
        route.fulfill(response=answer, json=offer)  # type: ignore[attr-defined]

    visit.page.route("**/api/options", without_reconviagen)
    visit.go()
    visit.fill(example_files())
    page = visit.page
    expect(page.get_by_text("The weights of reconviagen are not installed.")).to_be_visible()
    expect(page.locator("input[value=nvdiffrec]")).to_be_checked()
    page.locator("input[value=reconviagen]").check(force=True)
    expect(page.get_by_role("button", name="Make the mesh")).to_be_disabled()


def test_with_the_keyboard_alone(visit: Visit) -> None:
    # From here on choosers are caught; asked for only when the key is pressed, the browser may be quicker.
    visit.page.on("filechooser", lambda _: None)
    visit.go()
    visit.fill(example_files())
    page = visit.page
    page.locator("body").press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    page.locator("[data-place='views/top']").focus()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files([{"name": "other.png", "mimeType": "image/png", "buffer": picture(5)}])
    expect(page.locator("[data-place='views/top']")).to_have_attribute(
        "aria-label", "top: other.png. Choose another picture"
    )
    page.locator("input[value=reconviagen]").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("input[value=nvdiffrec]")).to_be_checked()
    start = page.get_by_role("button", name="Make the mesh")
    expect(start).to_be_enabled(timeout=40_000)  # once the new picture is judged
    start.focus()
    page.keyboard.press("Enter")
    visit.job_id()
    expect(page.locator("h1")).to_be_focused()
    visit.wait_until("Done")
    canvas = page.locator(".viewer-host[data-state=ready] canvas")
    expect(canvas).to_be_visible(timeout=60_000)
    page.wait_for_timeout(500)
    before = canvas.screenshot()
    canvas.focus()
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(500)
    assert canvas.screenshot() != before, "the mesh turns"
