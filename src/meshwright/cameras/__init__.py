"""Frames, rigs, which way views look, calibration, NeRF datasets."""

from meshwright.cameras.frame import move_cameras
from meshwright.cameras.rigs import DEFAULT_RIG, RIGS, Rig, default_rig, rig_cameras
from meshwright.cameras.solve import CameraConfig, CameraSolution, solve_cameras

__all__ = [
    "DEFAULT_RIG",
    "RIGS",
    "CameraConfig",
    "CameraSolution",
    "Rig",
    "default_rig",
    "move_cameras",
    "rig_cameras",
    "solve_cameras",
]
