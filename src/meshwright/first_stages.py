"""How the stages before any model are asked for: the recipe and a process that works ahead ask for the same."""

from __future__ import annotations

from pathlib import Path

from meshwright.cameras import CameraConfig, CameraSolution, solve_cameras
from meshwright.config import ReconstructConfig
from meshwright.geometry import ShapeConfig, ShapeResult, reconstruct_shape
from meshwright.inputs import read_inputs
from meshwright.types import Monitor, ViewSet

__all__ = ["camera_config", "carve", "find_cameras", "read", "shape_config"]


def read(source: Path, config: ReconstructConfig) -> ViewSet:
    """The views, with masks and depth."""
    return read_inputs(source, config.inputs, depth_dir=config.depth_dir)


def camera_config(config: ReconstructConfig) -> CameraConfig:
    """What decides the cameras, beside the views."""
    return CameraConfig(rig=config.rig, refine=config.refine_cameras)


def find_cameras(views: ViewSet, config: ReconstructConfig, monitor: Monitor) -> CameraSolution:
    """The cameras of the views."""
    return solve_cameras(views, camera_config(config), monitor)


def shape_config(solution: CameraSolution, config: ReconstructConfig) -> ShapeConfig:
    """What decides the first shape, beside views and cameras."""
    return ShapeConfig(grid=config.preset.grid, use_depth=config.use_depth, frame=solution.frame)


def carve(solution: CameraSolution, config: ReconstructConfig, device: str, monitor: Monitor) -> ShapeResult:
    """The first shape: the hull with depth fused into it."""
    return reconstruct_shape(solution.views, solution.cameras, shape_config(solution, config), monitor, device)
