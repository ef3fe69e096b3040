"""From packed objects to what training needs: pictures, depth and normals of six views, and signed distances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional

from meshwright._warp import wp
from meshwright.synth.field_kernel import SolidData
from meshwright.synth.paint_kernel import DecalData, PaintData
from training import fields
from training.objects import HALF, Packed

__all__ = ["Scenes", "render"]

MASK_SIZE, PICTURE_SIZE = 256, 128


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """A batch of B objects seen from V = 6 sides, without any fault.

    Attributes:
        field: Signed distance in world units, negative inside, cut off, float32 [B, N, N, N] by x, y, z.
        mask: float32 [B, V, M, M], 0 or 1.
        rgb: Linear, 0 where nothing is, float32 [B, V, 3, P, P].
        cover: Share of a picture's pixel that the object fills, float32 [B, V, P, P].
        depth: Along the optical axis, mean over the covered part, float32 [B, V, P, P].
        normal: In camera axes, unit length or 0, float32 [B, V, 3, P, P].
        rotation: World to camera, float32 [B, V, 3, 3].
        position: Of the camera, float32 [B, V, 3].
        lens: Focal length and shift in half pictures, float32 [B, V, 3].
    """

    field: torch.Tensor
    mask: torch.Tensor
    rgb: torch.Tensor
    cover: torch.Tensor
    depth: torch.Tensor
    normal: torch.Tensor
    rotation: torch.Tensor
    position: torch.Tensor
    lens: torch.Tensor


def render(packed: Packed, *, grid: int, device: str, limit: float = 0.15) -> Scenes:
    """Everything about a batch.

    Args:
        packed: The objects.
        grid: Cells along the cube's side.
        device: "cpu" or "cuda:N", for Warp and torch alike.
        limit: Signed distances are cut off here.
    """
    eyes = packed.eyes
    count, views = eyes.shape
    on = torch.device(device)
    with _stream(device):
        solids = wp.array(packed.solids, dtype=SolidData, device=device)
        bodies = wp.array(packed.bodies, dtype=fields.BodyData, device=device)
        frames = _frames(solids, bodies, count, on)
        field = torch.empty((count, grid, grid, grid), device=on)
        wp.launch(
            fields.lattice_kernel,
            field.shape,
            [solids, bodies, wp.from_torch(frames, dtype=wp.vec4), HALF, limit, wp.from_torch(field)],
            device=device,
        )
        size = (count * views, MASK_SIZE, MASK_SIZE)
        depth = torch.zeros(size, device=on)
        normal = torch.zeros((size[0], 3, *size[1:]), device=on)
        rgb = torch.zeros((size[0], 3, *size[1:]), device=on)
        no_marks = wp.zeros(0, dtype=DecalData, device=device)
        no_pixels = wp.zeros(1, dtype=wp.uint8, device=device)
        inputs: list[Any] = [
            solids,
            wp.array(packed.paints, dtype=PaintData, device=device),
            no_marks,
            no_pixels,
            bodies,
            wp.from_torch(frames, dtype=wp.vec4),
            wp.array(packed.lights, dtype=fields.LightData, device=device),
            wp.array(eyes, dtype=fields.EyeData, device=device),
            wp.from_torch(field),
            views,
            HALF,
        ]
        outputs = [wp.from_torch(depth), wp.from_torch(normal), wp.from_torch(rgb)]
        wp.launch(fields.picture_kernel, size, inputs, outputs, device=device)
    axes = np.stack([eyes["right"], eyes["up"], -eyes["forward"]], 2)
    rotation = torch.from_numpy(np.ascontiguousarray(axes)).to(on)
    hit = (depth > 0).float()
    shrink = MASK_SIZE // PICTURE_SIZE

    def pooled(values: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(values, shrink)

    cover = pooled(hit[:, None])
    share = cover.clamp(min=1e-6)
    normal = pooled(normal).view(count, views, 3, PICTURE_SIZE, PICTURE_SIZE)
    normal = functional.normalize(torch.einsum("bvij,bvjhw->bvihw", rotation, normal), dim=2)
    flat = (count, views, PICTURE_SIZE, PICTURE_SIZE)
    return Scenes(
        field=field,
        mask=hit.view(count, views, MASK_SIZE, MASK_SIZE),
        rgb=(pooled(rgb) / share).view(count, views, 3, PICTURE_SIZE, PICTURE_SIZE),
        cover=cover.view(flat),
        depth=(pooled(depth[:, None]) / share).view(flat),
        normal=normal,
        rotation=rotation,
        position=torch.from_numpy(np.ascontiguousarray(eyes["eye"])).to(on),
        lens=torch.from_numpy(np.stack([eyes["focal"], eyes["shift_x"], eyes["shift_y"]], -1)).to(on),
    )


def _frames(solids: Any, bodies: Any, count: int, on: torch.device) -> torch.Tensor:
    """Centre and unit of each object [B, 4]; an object that vanished keeps its origin."""
    side = 56
    low = torch.full((count, 3), 1e6, device=on)
    high = torch.full((count, 3), -1e6, device=on)
    wp.launch(
        fields.extent_kernel,
        (count, side, side, side),
        [solids, bodies, side, wp.from_torch(low), wp.from_torch(high)],
        device=str(on),
    )
    there = (high > low).all(1, keepdim=True)
    centre = torch.where(there, (low + high) / 2, torch.zeros_like(low))
    unit = torch.where(there, (high - low).amax(1, keepdim=True), torch.ones_like(low[:, :1]))
    return torch.cat([centre, unit], 1).contiguous()


class _stream:  # noqa: N801  (a context, used like a function)
    """Warp on torch's own CUDA stream, so that neither has to wait for the other; nothing on a CPU."""

    def __init__(self, device: str) -> None:
        self.scope = None
        if device.startswith("cuda"):
            self.scope = wp.ScopedStream(wp.stream_from_torch(torch.cuda.current_stream(torch.device(device))))

    def __enter__(self) -> None:
        if self.scope is not None:
            self.scope.__enter__()

    def __exit__(self, *caught: object) -> None:
        if self.scope is not None:
            self.scope.__exit__(*caught)
