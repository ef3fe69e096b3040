"""From a mesh painted with the views to one with materials, and the light: the recipe of stage two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from meshwright.colour import from_srgb8, linear_to_srgb
from meshwright.models.base import Appearance
from meshwright.models.nvdiffrec.stage_two.charts import continued, resized, vertex_picture
from meshwright.models.nvdiffrec.stage_two.config import LightingConfig
from meshwright.models.nvdiffrec.stage_two.fit import Fit, Found
from meshwright.models.nvdiffrec.stage_two.samples import collect
from meshwright.types import Array, Camera, MaterialMaps, Monitor, TexturedMesh, View

__all__ = ["fit_lighting"]


def fit_lighting(
    textured: TexturedMesh,
    views: Sequence[View],
    cameras: Sequence[Camera],
    config: LightingConfig,
    monitor: Monitor,
    device: str,
) -> Appearance:
    """Materials and light that make the mesh look like its views.

    Args:
        textured: The mesh with the colours of the views, light and all.
        views: Pictures with masks.
        cameras: One per view.
        config: See `LightingConfig`.
        monitor: For progress over the whole of it, and cancellation.
        device: "cpu" or a CUDA device.
    Raises:
        Cancelled: The monitor wants to stop.
    """
    monitor.report(0, "Collecting pixels")
    samples = collect(
        textured,
        views,
        cameras,
        pixels=config.pixels,
        most=config.most_samples,
        seed=config.seed,
        monitor=monitor,
        device=device,
    )
    if samples is None:
        return Appearance(
            textured=textured,
            report={"lighting": "baked"},
            warnings=("No light was fitted: in none of the views do mesh and mask meet.",),
        )

    def say(step: int) -> None:
        monitor.check()
        monitor.report(5 + 90 * step / config.steps, "Fitting materials and light")

    found = Fit(textured, samples, config, device).run(say)
    monitor.check()
    material = _maps(textured, found, config.normals, device)
    return Appearance(
        textured=replace(textured, base_color_srgb=_base_colour(textured, found), material=material),
        report={"lighting": "pbr", **found.report},
    )


def _base_colour(textured: TexturedMesh, found: Found) -> Array:
    """The base colour at the texture's own size: detail finer than what was fitted stays that of the views."""
    baked = textured.base_color_srgb
    size = len(found.colour)
    before = linear_to_srgb(resized(from_srgb8(baked), size))
    after = linear_to_srgb(found.colour[::-1])
    moved = resized(continued(after - before, found.touched[::-1]), len(baked))
    codes: Array = np.rint(np.clip(baked.astype(np.float32) / 255 + moved, 0, 1) * 255).astype(np.uint8)
    return codes


def _maps(textured: TexturedMesh, found: Found, normals: bool, device: str) -> MaterialMaps:
    size = len(found.colour)
    coarse, charted = vertex_picture(textured, found.vertex, size, device)
    detail = continued(found.detail, found.touched)
    ks = np.clip(continued(coarse, charted) + detail[..., :2], 0, 1)
    orm = np.concatenate([np.ones_like(ks[..., :1]), ks], -1)
    normal = None
    if normals:
        local = np.concatenate([detail[..., 2:], np.ones_like(detail[..., :1])], -1)
        local /= np.linalg.norm(local, axis=-1, keepdims=True)
        normal = _codes(local / 2 + 0.5)
    return MaterialMaps(orm=_codes(orm), normal=normal, light=found.light)


def _codes(picture: Array) -> Array:
    """0 .. 1, row 0 at v = 0, to uint8 with row 0 on top."""
    return np.ascontiguousarray(np.rint(picture[::-1] * 255).astype(np.uint8))
