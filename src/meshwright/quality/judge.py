"""Reopen what was written, look at it through the cameras, and say how well it shows what the views show."""

from __future__ import annotations

import platform
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path

import numpy as np

from meshwright import __version__
from meshwright.device import cpu_threads, map_threads
from meshwright.errors import OptionError, ShapeError
from meshwright.export import load_textured
from meshwright.quality.camera_figure import hull_corners
from meshwright.quality.comparison import Comparison, compare_view, target_of
from meshwright.quality.geometry import MeshFacts, mesh_facts
from meshwright.quality.record import QualityReport, QualityStatus
from meshwright.rendering.uploads import Uploads
from meshwright.types import Camera, Monitor, SilentMonitor, TexturedMesh, ViewSet

__all__ = ["JudgeConfig", "judge"]

REPORTED_VERSIONS = ("numpy", "scipy", "torch", "warp-lang", "trimesh", "xatlas", "scikit-image")


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """At which size, and what counts as good. The defaults are the published meaning of `status`."""

    longest_side: int = 512
    """Pixels of the longer side at which views and renders are compared; smaller views stay as they are."""
    normal_psnr: float = 25.0
    """dB; from here on, and with `normal_ssim`, a result is `normal`."""
    normal_ssim: float = 0.85
    warning_psnr: float = 20.0
    """dB; below, or below `warning_ssim`, a result is a `failure`."""
    warning_ssim: float = 0.75

    def __post_init__(self) -> None:
        """Refuses sizes at which the metrics mean nothing."""
        if not 16 <= self.longest_side <= 8192:
            raise OptionError(f"longest_side={self.longest_side} is out of range.", hint="Use 16 to 8192 pixels.")


def judge(
    folder: Path,
    views: ViewSet,
    cameras: Sequence[Camera],
    *,
    mesh_file: str = "mesh.obj",
    config: JudgeConfig | None = None,
    monitor: Monitor | None = None,
    device: str = "cpu",
    device_name: str = "",
    timings: Mapping[str, float] | None = None,
    model: str = "",
    checkpoint: str | None = None,
    warnings: Sequence[str] = (),
) -> QualityReport:
    """Compare a mesh file with views.

    Args:
        folder: Where the mesh lies.
        views: The input, mirrored views already turned back.
        cameras: One per view, in the frame and unit of the file.
        mesh_file: Its name in `folder`.
        config: Size and thresholds.
        monitor: Hears which view was compared (percents of this step), and is asked whether to stop.
        device: Where to render, such as "cpu" or "cuda:0".
        device_name: The device in words, for the record; `device` where empty.
        timings: Seconds per stage, for the record.
        model: Name of the model, for the record.
        checkpoint: Name of its weights, for the record.
        warnings: What earlier stages had to say; goes first.
    Raises:
        InputError: The file is not there or cannot be read.
        ShapeError: There are not as many cameras as views, or none.
    """
    config = config or JudgeConfig()
    monitor = monitor or SilentMonitor()
    if len(cameras) != len(views.views) or not views.views:
        raise ShapeError(f"There are {len(views.views)} views and {len(cameras)} cameras.")
    lock, done, uploads = threading.Lock(), count(1), Uploads(device)
    # So many views are made ready while the mesh is read; all of them would need as much memory again.
    early = views.views[: cpu_threads()]
    with ThreadPoolExecutor(len(early) + 1, thread_name_prefix="judge") as beside:
        targets = [beside.submit(copy_context().run, target_of, view, config.longest_side) for view in early]
        mesh = load_textured(folder / mesh_file)
        counted = beside.submit(mesh_facts, mesh.mesh)
        outlined = beside.submit(hull_corners, mesh.mesh.vertices)

        def compare(index: int) -> Comparison:
            monitor.check()
            view = views.views[index]
            comparison = compare_view(
                mesh,
                cameras[index],
                view,
                longest=config.longest_side,
                device=device,
                uploads=uploads,
                target=targets[index].result() if index < len(targets) else None,
            )
            with lock:  # views finish in any order, percents must not fall
                monitor.report(100 * next(done) / len(cameras), f"Comparing {view.name}")
            return comparison

        comparisons = tuple(map_threads(compare, range(len(cameras)), device=device))
        facts, outline = counted.result(), outlined.result()
    mean = _means(comparisons, max(facts.size))
    status = _status(mean, config)
    texture = mesh.base_color_srgb.shape if isinstance(mesh, TexturedMesh) else None
    return QualityReport(
        status=status,
        summary=_summary(status, mean, len(comparisons)),
        warnings=(*warnings, *_mesh_warnings(facts), *_view_warnings(comparisons, mean)),
        mean=mean,
        views=comparisons,
        cameras=tuple(cameras),
        outline=outline,
        mesh=facts,
        texture_size=None if texture is None else (int(texture[1]), int(texture[0])),
        mesh_file=mesh_file,
        timings=dict(timings or {}),
        device=device_name or device,
        versions=_versions(),
        model=model,
        checkpoint=checkpoint,
    )


def _means(comparisons: Sequence[Comparison], longest: float) -> dict[str, float]:
    names = ("psnr", "ssim", "flip", "psnr_white", "ssim_white", "silhouette_iou")
    mean = {name: float(np.mean([getattr(item, name) for item in comparisons])) for name in names}
    depths = [item.depth.mean / longest for item in comparisons if item.depth is not None]
    if depths:
        mean["depth_error"] = float(np.mean(depths))
    return mean


def _status(mean: Mapping[str, float], config: JudgeConfig) -> QualityStatus:
    if mean["psnr"] >= config.normal_psnr and mean["ssim"] >= config.normal_ssim:
        return QualityStatus.NORMAL
    if mean["psnr"] >= config.warning_psnr and mean["ssim"] >= config.warning_ssim:
        return QualityStatus.WARNING
    return QualityStatus.FAILURE


def _summary(status: QualityStatus, mean: Mapping[str, float], count: int) -> str:
    verdict = {
        QualityStatus.NORMAL: "The mesh looks like its views",
        QualityStatus.WARNING: "The mesh resembles its views, with visible differences",
        QualityStatus.FAILURE: "The mesh does not look like its views",
    }[status]
    number = "one view" if count == 1 else f"{count} views"
    return f"{verdict}: PSNR {mean['psnr']:.1f} dB, SSIM {mean['ssim']:.3f}, FLIP {mean['flip']:.3f} over {number}."


def _mesh_warnings(facts: MeshFacts) -> list[str]:
    found = []
    if facts.open_edges:
        found.append(f"The mesh is not closed: {facts.open_edges} edges have a face on one side only.")
    elif not facts.watertight:
        found.append("The mesh is not a proper solid: some edges do not join exactly two faces that face the same way.")
    if facts.components > 1:
        found.append(f"The mesh consists of {facts.components} separate pieces.")
    return found


def _view_warnings(comparisons: Sequence[Comparison], mean: Mapping[str, float]) -> list[str]:
    """Views that fit clearly worse than the rest: often a camera that is off, or a picture of something else."""
    found = []
    worse = [f"{item.name} ({item.psnr:.1f} dB)" for item in comparisons if item.psnr < mean["psnr"] - 4]
    if worse and len(comparisons) > 2:
        found.append(f"Clearly below the mean PSNR of {mean['psnr']:.1f} dB: {', '.join(worse)}.")
    outside = [f"{item.name} ({100 * item.silhouette_iou:.0f} %)" for item in comparisons if item.silhouette_iou < 0.9]
    if outside:
        found.append(f"The outlines of mesh and picture overlap by less than 90 %: {', '.join(outside)}.")
    return found


def _versions() -> dict[str, str]:
    found = {"meshwright": __version__, "python": platform.python_version()}
    for name in REPORTED_VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
