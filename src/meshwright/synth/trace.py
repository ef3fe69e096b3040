"""Sphere tracing: pictures of an object with coverage and exact depth, sharing no code with the project's rasteriser.

Each pixel takes samples x samples rays (odd, so that the middle ray goes through the pixel centre, where depth is
measured). Light is a soft sky, brighter from above, dimmed in creases; surfaces are diffuse; there is no tone curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from meshwright._warp import wp
from meshwright.device import turn
from meshwright.errors import OptionError
from meshwright.synth.trace_kernel import BLOCK, Pinhole, cone_kernel, trace_kernel
from meshwright.types import Array, Camera

__all__ = ["Scene", "SynthPicture", "render"]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """An object on a device, scaled and centred: world = (own - centre) * scale."""

    solids: Any
    paints: Any
    decals: Any
    pixels: Any
    centre: Array
    scale: float
    device: str


@dataclass(frozen=True, kw_only=True)
class SynthPicture:
    """rgb: linear, straight, float32 [H, W, 3]; alpha: coverage, depth: 0 = background, float32 [H, W]."""

    rgb: Array
    alpha: Array
    depth: Array


def render(scene: Scene, camera: Camera, *, samples: int = 3) -> SynthPicture:
    """One picture of the scene.

    Raises:
        OptionError: `samples` is even, so no ray would go through the pixel centre.
    """
    if samples < 1 or samples % 2 == 0:
        raise OptionError(f"samples={samples} per pixel side.", hint="Use an odd number such as 3.")
    height, width, device = camera.height, camera.width, scene.device
    unit = 1.0 / scene.scale
    pinhole = Pinhole()
    pinhole.eye = wp.vec3(*(camera.position * unit + scene.centre))
    pinhole.right = wp.vec3(*camera.camera_to_world[:3, 0])
    pinhole.up = wp.vec3(*camera.camera_to_world[:3, 1])
    pinhole.forward = wp.vec3(*camera.forward)
    pinhole.fl_x, pinhole.fl_y, pinhole.cx, pinhole.cy = camera.fl_x, camera.fl_y, camera.cx, camera.cy
    pinhole.unit = unit
    # The object lies inside a ball of radius sqrt(3)/2 around the world's origin.
    reach, middle = 0.88, float(-camera.position @ camera.forward)
    near, far = max(middle - reach, 1e-3) * unit, (middle + reach) * unit

    blocks = (-(-height // BLOCK), -(-width // BLOCK))
    with turn(device):
        start = wp.empty(blocks, dtype=wp.float32, device=device)
        wp.launch(cone_kernel, blocks, [scene.solids, pinhole, near, far, start], device=device)
        rgb = wp.empty((height, width), dtype=wp.vec3, device=device)
        alpha = wp.empty((height, width), dtype=wp.float32, device=device)
        depth = wp.empty((height, width), dtype=wp.float32, device=device)
        wp.launch(
            trace_kernel,
            (height, width),
            [scene.solids, scene.paints, scene.decals, scene.pixels, pinhole, start, far, samples, rgb, alpha, depth],
            device=device,
        )
        return SynthPicture(rgb=rgb.numpy(), alpha=alpha.numpy(), depth=np.ascontiguousarray(depth.numpy()))
