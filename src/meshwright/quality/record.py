"""The judgement of a result, and its JSON form (described in docs/quality.md)."""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

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
        details: What the stages had to say for programs (settings, the ranking of rigs and so on).
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
    details: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Plain values in the form of quality.json."""
        longest = max(self.mesh.size)
        document = {
            "schema": SCHEMA,
            "status": self.status.value,
            "summary": self.summary,
            "warnings": list(self.warnings),
            "mean": self.mean,
            "views": [_view_json(view, longest) for view in self.views],
            "mesh": {
                "file": self.mesh_file,
                **asdict(self.mesh),
                "texture_size": self.texture_size,
            },
            "model": self.model,
            "checkpoint": self.checkpoint,
            "timings": self.timings,
            "device": self.device,
            "versions": self.versions,
            "details": self.details,
        }
        plain: dict[str, object] = _plain(document)
        return plain


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
        "psnr": view.psnr,
        "ssim": view.ssim,
        "flip": view.flip,
        "psnr_white": view.psnr_white,
        "ssim_white": view.ssim_white,
        "silhouette_iou": view.silhouette_iou,
        "depth": None
        if depth is None
        else {
            "error": depth.mean / longest,
            "median_error": depth.median / longest,
            "kind": depth.kind,
            "pixels": depth.pixels,
        },
    }


def _plain(value: Any) -> Any:
    """JSON values: six significant digits (more than any of these numbers is worth), null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, bool | int | None):
        return value
    return str(value)
