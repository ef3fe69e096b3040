"""report.html: one page that needs nothing but itself."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from meshwright.device import map_threads
from meshwright.export import write_atomic
from meshwright.quality.camera_figure import camera_figure
from meshwright.quality.comparison import Comparison
from meshwright.quality.previews import PreviewFiles
from meshwright.quality.record import QualityReport, QualityStatus
from meshwright.types import Array, Camera

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["heat", "write_report_html"]

MOST_VIEWS = 12
"""A posed image set can have a hundred views; the page shows those that fit worst."""
JPEG_QUALITY = 84
TURNTABLE_SIDE = 320

VERDICTS = {
    QualityStatus.NORMAL: (
        "Good",
        "Seen from the cameras of your pictures, the mesh shows what the pictures show.",
    ),
    QualityStatus.WARNING: (
        "Fair",
        "Seen from the cameras of your pictures, the mesh resembles them, but differences are visible. "
        "The error pictures below show where.",
    ),
    QualityStatus.FAILURE: (
        "Poor",
        "Seen from the cameras of your pictures, the mesh differs strongly from them. The files are complete all the "
        "same, and whether they are of use is yours to decide. Common causes: pictures of different poses or objects, "
        "views under the wrong name, or a background that could not be told from the object.",
    ),
}

STAGES = {
    "read": "Reading the views",
    "cameras": "Finding the cameras",
    "shape": "Carving the shape",
    "model": "Refining",
    "simplify": "Simplifying the mesh",
    "unwrap": "Laying out the texture",
    "texture": "Painting the texture",
    "export": "Writing the files",
    "judge": "Checking the files",
}
"""What stages are called on the page; others appear under their own name."""

MAGMA = np.array([(0, 0, 4), (59, 15, 112), (140, 41, 129), (222, 73, 104), (254, 159, 109), (252, 253, 191)])
"""Black for no error, over violet and red, to pale yellow for the largest."""
HEAT_STEPS = 4096
"""A step is a seventh of a code at most."""
BOTH, INPUT_ONLY, MESH_ONLY, NEITHER = (150, 154, 162), (47, 129, 247), (240, 136, 62), (255, 255, 255)


@dataclass(frozen=True, kw_only=True)
class _ViewRow:
    name: str
    pictures: tuple[tuple[str, str], ...]
    """Title and data URI."""
    view: Comparison
    depth_percent: float | None


@dataclass(frozen=True, kw_only=True)
class _CameraRow:
    name: str
    field_of_view: float
    distance: float
    azimuth: int
    elevation: int


def write_report_html(
    report: QualityReport, path: Path, *, previews: PreviewFiles | None = None, title: str = "Reconstruction"
) -> Path:
    """Write the page, whole or not at all; pictures are inside, nothing is fetched when it is opened.

    Args:
        report: What `judge` found.
        path: The HTML file.
        previews: Their turntable pictures are put on the page, made smaller.
        title: What was reconstructed.
    Raises:
        OutputError: It cannot be written.
    """
    longest = max(report.mesh.size)
    shown = sorted(report.views, key=lambda view: view.psnr)[:MOST_VIEWS]
    shown = [view for view in report.views if any(view is chosen for chosen in shown)]
    verdict, explanation = VERDICTS[report.status]
    total = sum(report.timings.values())
    with ThreadPoolExecutor(1) as beside:
        template = beside.submit(_template)  # needs the interpreter, pictures do not
        pictures = [partial(draw, view) for view in shown for _, draw in _PICTURES]
        turntable = [partial(_shrunk, file) for file in (previews.turntable if previews is not None else ())]
        encoded = map_threads(lambda picture: picture(), [*pictures, *turntable])
    each = len(_PICTURES)
    html = template.result().render(
        title=title,
        report=report,
        status=report.status.value,
        verdict=verdict,
        explanation=explanation,
        rows=[_row(view, encoded[each * place : each * (place + 1)], longest) for place, view in enumerate(shown)],
        figure=camera_figure(report.cameras, report.outline),
        cameras=[_camera(camera, report.outline) for camera in report.cameras[: 2 * MOST_VIEWS]],
        turntable=encoded[each * len(shown) :],
        timings=[
            (STAGES.get(name, name), seconds, 100 * seconds / max(total, 1e-9))
            for name, seconds in report.timings.items()
        ],
        total_seconds=total,
    )
    return write_atomic(path, html.encode())


def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    text = resources.files("meshwright.quality").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(text)


def _row(view: Comparison, encoded: Sequence[str], longest: float) -> _ViewRow:
    return _ViewRow(
        name=view.name,
        pictures=tuple((title, uri) for (title, _), uri in zip(_PICTURES, encoded, strict=True)),
        view=view,
        depth_percent=None if view.depth is None else 100 * view.depth.mean / longest,
    )


def _outlines(view: Comparison) -> str:
    """Both silhouettes in four colours, a PNG of two bits a pixel."""
    image = Image.fromarray((view.mask >= 0.5) + np.uint8(2) * (view.coverage >= 0.5))
    image.putpalette([code for colour in (NEITHER, INPUT_ONLY, MESH_ONLY, BOTH) for code in colour])
    stream = io.BytesIO()
    image.save(stream, "PNG", bits=2)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _camera(camera: Camera, outline: Array) -> _CameraRow:
    away = camera.position - (outline.min(0) + outline.max(0)) / 2
    distance = float(np.linalg.norm(away))
    return _CameraRow(
        name=camera.name,
        field_of_view=float(np.degrees(2 * np.arctan(camera.width / (2 * camera.fl_x)))),
        distance=distance,
        azimuth=_degrees(np.arctan2(away[0], away[2])),
        elevation=_degrees(np.arcsin(np.clip(away[1] / max(distance, 1e-12), -1, 1))),
    )


def _degrees(radians: float) -> int:
    """Whole degrees, -179 to 180, never minus nought."""
    whole = round(float(np.degrees(radians)))
    return 180 if whole == -180 else whole


def heat(error: Array) -> Array:
    """FLIP 0..1 as colours, uint8 [H, W, 3]."""
    steps: Array = np.rint(np.clip(error, 0, 1) * np.float32(HEAT_STEPS)).astype(np.uint16)
    return np.asarray(_heat_table()[steps])


@functools.cache
def _heat_table() -> Array:
    at = np.arange(HEAT_STEPS + 1) / HEAT_STEPS * (len(MAGMA) - 1)
    colors = [np.interp(at, np.arange(len(MAGMA)), MAGMA[:, channel]) for channel in range(3)]
    return np.asarray(np.rint(np.stack(colors, -1)), np.uint8)


def _shrunk(file: Path) -> str:
    with Image.open(file) as image:
        image.thumbnail((TURNTABLE_SIDE, TURNTABLE_SIDE), Image.Resampling.BOX)
        return _jpeg(np.asarray(image.convert("RGB")))


def _jpeg(image: Array) -> str:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


_PICTURES: tuple[tuple[str, Callable[[Comparison], str]], ...] = (
    ("Your picture", lambda view: _jpeg(view.reference)),
    ("The mesh", lambda view: _jpeg(view.render)),
    ("Error", lambda view: _jpeg(heat(view.error))),
    ("Outlines", _outlines),
)
"""What is shown of a view: title, and how its data URI is made."""
