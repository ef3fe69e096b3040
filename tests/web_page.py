"""The page as a person meets it: Chromium, driven by Playwright, with what it must never do noted as it goes."""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, expect

__all__ = ["CHROMIUM", "Visit", "chromium_path", "colours", "drop", "example_files", "paste", "picture", "visiting"]

ROOT = Path(__file__).resolve().parents[1]
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
SIZES = {1280: 900, 360: 740}
SCREENSHOTS = os.environ.get("MESHWRIGHT_SCREENSHOTS", "")
"""A folder that pictures of each state are written to (docs/images/web); empty: they are only looked at."""

File = tuple[str, bytes]

expect.set_options(timeout=25_000)  # without a GPU, and with others at work on the same cores, drawing takes its time


def chromium_path() -> str | None:
    """The browser of this system."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


@dataclass
class Visit:
    """One person with one browser window."""

    page: Page
    url: str
    faults: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    def go(self, path: str = "") -> None:
        """Opens the page anew."""
        self.page.goto(f"{self.url}/{path}")

    def visit_job(self, job_id: str) -> None:
        self.go(f"#/jobs/{job_id}")
        expect(self.page.locator("h1 code")).to_have_text(job_id)

    def job_id(self) -> str:
        """Of the job whose page is shown."""
        expect(self.page.locator("h1 code")).to_be_visible(timeout=40_000)
        return self.page.locator("h1 code").inner_text()

    def fill(self, files: Sequence[File], count: int = 12) -> None:
        """Drops files anywhere and waits until they are drawn."""
        drop(self.page, files)
        expect(self.page.locator(".slot canvas")).to_have_count(count, timeout=40_000)

    def start(self, model: str = "reconviagen", quality: str = "draft") -> str:
        """Sends what was dropped; the new job's id."""
        self.page.locator(f"input[value={model}]").check(force=True)
        self.page.locator(f"input[value={quality}]").check(force=True)
        self.page.get_by_role("button", name="Make the mesh").click()
        return self.job_id()

    def wait_until(self, word: str, seconds: float = 60) -> None:
        """Until the job's badge says this."""
        expect(self.page.locator("h1 .badge")).to_have_text(word, timeout=1000 * seconds)

    def accessibility(self) -> list[str]:
        """What axe finds serious or critical."""
        self.page.evaluate(AXE.read_text(encoding="utf-8") + ";undefined")
        found = self.page.evaluate("async () => (await axe.run(document)).violations")
        return [
            f"{item['id']}: {node['target']} {node['failureSummary']}"
            for item in found
            if item["impact"] in ("serious", "critical")
            for node in item["nodes"]
        ]

    def is_too_wide(self) -> bool:
        """Whether anything makes the page scroll sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))

    def shoot(self, name: str, *, whole: bool = True) -> None:
        """A picture of the state at both widths; nothing may stick out, and it must show something."""
        for width, height in SIZES.items():
            self.page.set_viewport_size({"width": width, "height": height})
            self.page.wait_for_timeout(600 if SCREENSHOTS else 150)  # the viewer draws at its new size
            assert not self.is_too_wide(), f"{name} scrolls sideways at {width} px"
            shot = self.page.screenshot(full_page=whole)
            assert colours(shot) > 20, f"{name} is blank at {width} px"
            if SCREENSHOTS:
                folder = ROOT / SCREENSHOTS
                folder.mkdir(parents=True, exist_ok=True)
                with Image.open(io.BytesIO(shot)) as image:
                    image.convert("RGB").save(folder / f"{name}_{width}.webp", quality=80, method=6)
        self.page.set_viewport_size({"width": 1280, "height": SIZES[1280]})


@contextmanager
def visiting(browser: Browser, url: str, **options: object) -> Iterator[Visit]:
    """A visit in a window of its own; at its end nothing may have been reported, and nobody else asked."""
    context: BrowserContext = browser.new_context(
        viewport={"width": 1280, "height": SIZES[1280]},
        accept_downloads=True,
        locale="en-GB",
        **options,  # type: ignore[arg-type]
    )
    context.set_default_timeout(25_000)
    page = context.new_page()
    visit = Visit(page, url)

    def heard(message: ConsoleMessage) -> None:
        visit.console.append(message.text)
        # A server that is away is reported by the browser itself; everything else is ours.
        if message.type in ("error", "warning") and not is_of_the_network(message.text):
            visit.faults.append(f"{message.type}: {message.text}")

    def asked(request: Request) -> None:
        visit.requests.append(request.url)
        parts = urlsplit(request.url)
        if parts.scheme not in ("blob", "data") and f"{parts.scheme}://{parts.netloc}" != url:
            visit.faults.append(f"a request to somebody else: {request.url}")

    page.on("console", heard)
    page.on("pageerror", lambda error: visit.faults.append(f"uncaught: {error}"))
    page.on("request", asked)
    try:
        yield visit
        assert visit.faults == []
    finally:
        context.close()


def is_of_the_network(text: str) -> bool:
    known = ("Failed to load resource", "net::ERR_", "GPU stall", "swiftshader", "SwiftShader", "GL Driver Message")
    return any(word in text for word in known)


def transfer(page: Page, files: Sequence[File]) -> object:
    """A DataTransfer with these files, as a drop or a paste brings it."""
    return page.evaluate_handle(
        """files => {
            const transfer = new DataTransfer();
            for (const { name, data } of files) {
                const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
                transfer.items.add(new File([bytes], name));
            }
            return transfer;
        }""",
        [{"name": name, "data": base64.b64encode(data).decode()} for name, data in files],
    )


def drop(page: Page, files: Sequence[File], target: str = ".new-page") -> None:
    expect(page.locator(target).first).to_be_visible()
    expect(page.locator(".choice").first).to_be_visible(timeout=40_000)
    page.dispatch_event(target, "drop", {"dataTransfer": transfer(page, files)})


def paste(page: Page, files: Sequence[File]) -> None:
    page.evaluate(
        """transfer => document.dispatchEvent(
            new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true }))""",
        transfer(page, files),
    )


def picture(shade: int = 90, size: int = 96) -> bytes:
    """A PNG with an object in its middle."""
    pixels = np.full((size, size, 3), 255, np.uint8)
    pixels[size // 4 : -size // 4, size // 3 : -size // 3] = (shade, 60, 200 - shade)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def example_files(views: Sequence[str] = ("front", "back", "left", "right", "top", "bottom")) -> list[File]:
    """Twelve files as people name them."""
    return [(f"{view}.png", picture(30 * index)) for index, view in enumerate(views)] + [
        (f"depth_{view}.png", picture(10 * index)) for index, view in enumerate(views)
    ]


def colours(shot: bytes) -> int:
    """How many different colours a picture has; a blank one has next to none."""
    with Image.open(io.BytesIO(shot)) as image:
        return len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0))


def canvas_colours(canvas: Locator) -> int:
    """Of what a canvas shows."""
    return colours(canvas.screenshot())
