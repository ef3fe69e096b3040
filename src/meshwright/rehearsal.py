"""A run on nothing in particular, beside the first stages: it loads what a GPU needs before its first real step.

Reading pictures and finding cameras are work for the host. Meanwhile a thread imports torch, opens the GPU, and takes a
cube of a few pixels through shape, refinement, texture and a picture, so that code and kernels are there when they are
needed. That is seconds in a fresh process; in one that has done it before nothing is done again.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from meshwright._warp import load_kernels
from meshwright.types import VIEW_NAMES, MaskSource, SilentMonitor, View, ViewSet

__all__ = ["rehearse"]

log = logging.getLogger(__name__)

SIDE = 48
"""Of the pictures, in pixels."""
DEPTH_KERNELS = ("meshwright.geometry.depth.kernels", "meshwright.geometry.kernels")
"""What depth renders need besides; the cube has none."""

_known: dict[tuple[str, bool], threading.Thread] = {}
_change = threading.Lock()


def rehearse(device: str, *, refines: bool) -> Callable[[], None]:
    """Begins the rehearsal for a device, where this process has not had it.

    What goes wrong in it is left to the run itself, which meets it too and says so.

    Args:
        device: As of `pick_device`; on a CPU there is nothing to be done meanwhile.
        refines: Whether the model refines its shape; without, that is left out.
    Returns:
        Waits for its end: call it before the device is given work.
    """
    if device == "cpu":
        return lambda: None
    with _change:
        known = _known.get((device, refines))
        if known is None:
            known = threading.Thread(target=_quietly, args=(device, refines), name="rehearsal")
            _known[device, refines] = known
            known.start()
    return known.join


def _quietly(device: str, refines: bool) -> None:
    try:
        perform(device, refines=refines)
    except Exception:
        log.info("the rehearsal on %s failed", device, exc_info=True)


def perform(device: str, *, refines: bool) -> None:
    """The rehearsal itself, on any device."""
    import torch

    torch.zeros(1, device=device)  # opens the device

    from meshwright.cameras import default_rig
    from meshwright.geometry import ShapeConfig, reconstruct_shape
    from meshwright.quality import picture_of

    cameras = default_rig([(SIDE, SIDE)] * len(VIEW_NAMES))
    views = ViewSet(views=tuple(_cube(name) for name in VIEW_NAMES))
    for module in DEPTH_KERNELS:
        importlib.import_module(module)
        load_kernels(module, device)
    shape = reconstruct_shape(views, cameras, ShapeConfig(grid=32, image_size=SIDE), SilentMonitor(), device)
    picture_of(shape.mesh, size=SIDE, device=device)
    if refines:
        from meshwright.models import Evidence
        from meshwright.models.refinement.config import BRIEF
        from meshwright.models.refinement.proposal import refined

        level = replace(BRIEF.levels[0], pixels=SIDE, steps=5)
        config = replace(BRIEF, levels=(level,), faces=400, texture_size=64)
        refined(Evidence(views=views, cameras=cameras, shape=shape.mesh, device=device), config, SilentMonitor())


def _cube(name: str) -> View:
    """A grey square in the middle of the picture, whatever the side."""
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[SIDE // 4 : -(SIDE // 4), SIDE // 4 : -(SIDE // 4)] = 1
    white = np.ones((SIDE, SIDE, 3), np.float32)
    return View(name=name, rgb=0.5 * white, mask=mask, mask_source=MaskSource.ALPHA, background=white)
