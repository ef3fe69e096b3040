"""The judgement of a result, and its JSON form (described in docs/quality.md)."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from meshwright.export import write_atomic
from meshwright.quality.comparison import Comparison
from meshwright.quality.geometry import MeshFacts
from meshwright.types import Array, Camera

__all__ = ["SCHEMA", "QualityReport", "QualityStatus", "write_quality_json"]

SCHEMA = 1
"""Goes up when a name or a meaning in quality.json changes."""


class QualityStatus(enum.StrEnum):
    """How well a result shows what its views show."""

    NORMAL = "normal"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, kw_only=True)
class QualityReport:
    """A written mesh, reopened and compared with the views it was made from.

    Attributes:
        status: By mean PSNR and SSIM over the whole frame.
        summary: One line for people.
        warnings: Plain sentences about input, cameras, mesh and single views.
        mean: Means over the views: psnr, ssim, flip, psnr_white, ssim_white, silhouette_iou, and depth_error where
            any view has depth.
        views: One comparison per view; their pictures do not go into the JSON.
        cameras: From which the mesh was rendered.
        outline: Corners of the convex hull of the mesh, float32 [K, 3]; not in the JSON.
        mesh: Facts about it.
        texture_size: Width and height, None for a mesh with vertex colours.
        mesh_file: Its name.
        timings: Seconds per stage.
        device: In words.
        versions: Of meshwright, Python and what it was built on.
        model: Its name.
        checkpoint: Name of the weights, None where the model has none.
    """

    status: QualityStatus
    summary: str
    warnings: tuple[str, ...]
    mean: Mapping[str, float]
    views: tuple[Comparison, ...]
    cameras: tuple[Camera, ...]
    outline: Array
    mesh: MeshFacts
    texture_size: tuple[int, int] | None
    mesh_file: str
    timings: Mapping[str, float]
    device: str
    versions: Mapping[str, str]
    model: str
    checkpoint: str | None

    def to_json(self) -> dict[str, object]:
        """Plain values in the form of quality.json."""
        longest = max(self.mesh.size)
        return {
            "schema": SCHEMA,
            "status": self.status.value,
            "summary": self.summary,
            "warnings": list(self.warnings),
            "mean": {name: _digits(value) for name, value in self.mean.items()},
            "views": [_view_json(view, longest) for view in self.views],
            "mesh": {
                "file": self.mesh_file,
                **{name: _digits(value) for name, value in asdict(self.mesh).items()},
                "texture_size": None if self.texture_size is None else list(self.texture_size),
            },
            "model": self.model,
            "checkpoint": self.checkpoint,
            "timings": {name: round(seconds, 3) for name, seconds in self.timings.items()},
            "device": self.device,
            "versions": dict(self.versions),
        }


def write_quality_json(report: QualityReport, path: Path) -> Path:
    """Write `quality.json`, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    text = json.dumps(report.to_json(), indent=1, allow_nan=False, ensure_ascii=False)
    return write_atomic(path, (text + "\n").encode())


def _view_json(view: Comparison, longest: float) -> dict[str, object]:
    depth = view.depth
    return {
        "name": view.name,
        "width": view.render.shape[1],
        "height": view.render.shape[0],
        "psnr": _digits(view.psnr),
        "ssim": _digits(view.ssim),
        "flip": _digits(view.flip),
        "psnr_white": _digits(view.psnr_white),
        "ssim_white": _digits(view.ssim_white),
        "silhouette_iou": _digits(view.silhouette_iou),
        "depth": None
        if depth is None
        else {
            "error": _digits(depth.mean / longest),
            "median_error": _digits(depth.median / longest),
            "kind": depth.kind.value,
            "pixels": depth.pixels,
        },
    }


def _digits(value: object) -> object:
    """Six significant digits are more than any of these numbers is worth."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, tuple):
        return [_digits(item) for item in value]
    return value
