"""Each view, what the mesh shows in its place, and the error between them, as files to be laid over each other."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import (
    Image,
    WebPImagePlugin,  # noqa: F401  (known by name, it spares the import of all forty formats when WebP is written)
)

from meshwright.device import map_threads
from meshwright.export import write_atomic
from meshwright.quality.record import QualityReport
from meshwright.quality.report import heat
from meshwright.types import Array

__all__ = ["write_comparisons"]

MOST_VIEWS = 12
"""A posed image set can have a hundred views; those that fit worst are written."""
WEBP_QUALITY = 90


def write_comparisons(report: QualityReport, folder: Path) -> tuple[Path, ...]:
    """Write `input_00.webp`, `render_00.webp` and `error_00.webp` of each view, numbered as in `quality.json`.

    All three have the size and frame in which the view was judged: mirrored views are turned back, renders stand before
    the background of the view. The error is FLIP, from black (none) to pale yellow (1).

    Args:
        report: What `judge` found.
        folder: Made if it is not there.
    Raises:
        OutputError: A file cannot be written.
    """
    worst = sorted(range(len(report.views)), key=lambda index: report.views[index].psnr)[:MOST_VIEWS]

    def write(job: tuple[int, str]) -> Path:
        index, kind = job
        view = report.views[index]
        picture = {"input": view.reference, "render": view.render}.get(kind)
        return write_atomic(
            folder / f"{kind}_{index:02d}.webp", _webp(heat(view.error) if picture is None else picture)
        )

    kinds = ("input", "render", "error")
    return tuple(map_threads(write, [(index, kind) for index in sorted(worst) for kind in kinds]))


def _webp(picture: Array) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "WEBP", quality=WEBP_QUALITY)
    return stream.getvalue()
