"""`meshwright.texture.solve` on a device: the same problem and the same steps, without a matrix and without waiting.

Letters: V views, P pixels that count, of all views together, M texels.
Conjugate gradients always run for as many steps as they may; steps that the host would leave out do nothing, which is
decided on the device. So the host only says what to do, and never asks how it went.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from meshwright._warp import wp
from meshwright.geometry.atlas import Atlas
from meshwright.programs import Program, packed
from meshwright.rendering.rasterize import rasterize_on_device
from meshwright.texture.on_device import kernels
from meshwright.texture.on_device.paint import linear_to_srgb
from meshwright.texture.on_device.tensors import sent
from meshwright.texture.on_device.texels import DeviceTexels
from meshwright.texture.sight import JudgedView
from meshwright.texture.solve import ENOUGH, ROUNDS, SAMPLES, STEPS
from meshwright.types import Camera, Mesh, Monitor

__all__ = ["Looks", "conjugate_gradients", "look_up", "solve_texture"]

RENDER = Program(kernels.render_kernel)
SPREAD = Program(kernels.spread_kernel)
PRODUCT = Program(kernels.product_kernel)
DIAGONAL = Program(kernels.diagonal_kernel)
COUPLING = Program(kernels.coupling_kernel)
DEGREE = Program(kernels.degree_kernel)


@dataclass(frozen=True, kw_only=True)
class Looks:
    """What views say about the texels.

    Attributes:
        place: Where each look-up of each pixel falls, column and row in texels from the centre of the first, float32
            [P, SAMPLES ** 2, 2].
        colour: The photograph, sRGB float32 [P, 3].
    """

    place: torch.Tensor
    colour: torch.Tensor


def look_up(mesh: Mesh, atlas: Atlas, size: int, view: JudgedView, camera: Camera, *, device: str) -> Looks:
    """The pixels of a view that show one surface and nothing else, and where in the texture they look."""
    height, width = view.whole.shape
    drawn = rasterize_on_device(mesh, camera.resized(width * SAMPLES, height * SAMPLES), device=device)
    face_id, bary = (wp.to_torch(values) for values in drawn[:2])

    def by_pixel(values: torch.Tensor) -> torch.Tensor:
        """[SAMPLES * H, SAMPLES * W, ...] to [H * W, SAMPLES ** 2, ...]."""
        tail = values.shape[2:]
        parted = values.reshape(height, SAMPLES, width, SAMPLES, *tail).swapaxes(1, 2)
        return parted.reshape(height * width, SAMPLES**2, *tail)

    face = by_pixel(face_id)
    use = torch.nonzero((face >= 0).all(1) & view.whole.flatten()).flatten()
    corners = sent(atlas.uv, device)[sent(atlas.uv_faces, device, np.int64)[face[use].long()]]
    place = (by_pixel(bary)[use][..., None] * corners).sum(2)
    column = (place[..., 0] * size - 0.5).clamp(0.0, size - 1.001)
    row = ((1.0 - place[..., 1]) * size - 0.5).clamp(0.0, size - 1.001)
    return Looks(place=torch.stack([column, row], -1), colour=linear_to_srgb(view.photograph.reshape(-1, 3)[use]))


def solve_texture(
    start: torch.Tensor,
    texels: DeviceTexels,
    views: Sequence[Looks],
    *,
    stiff: float,
    hold: float,
    doubt: float,
    monitor: Monitor,
) -> torch.Tensor:
    """As `meshwright.texture.solve.solve_texture`; sums are added up in no fixed order on a GPU."""
    place = packed(torch.cat([view.place for view in views]))
    photograph = torch.cat([view.colour for view in views])
    device, pixels, count = start.device, len(photograph), len(start)
    nearest, index, size = packed(texels.nearest), packed(texels.index), texels.size

    def coupled(x: torch.Tensor) -> torch.Tensor:
        result = torch.empty_like(x)
        COUPLING(device, count, index, nearest, size, stiff, hold, x, result)
        return result

    colour = start.contiguous()
    for _ in range(ROUNDS if doubt < float("inf") else 1):
        monitor.check()
        lack = torch.empty_like(photograph)
        RENDER(device, pixels, place, nearest, size, colour, lack)
        lack = photograph - lack
        weight = 1.0 / (1.0 + lack.square().mean(1) / doubt**2)
        right = coupled(start - colour)
        SPREAD(device, pixels, place, nearest, size, weight, lack, right)
        diagonal = torch.empty(count, dtype=torch.float32, device=device)
        DEGREE(device, count, index, nearest, size, stiff, hold, diagonal)
        DIAGONAL(device, pixels, place, nearest, size, weight, diagonal)

        def apply(x: torch.Tensor, weight: torch.Tensor = weight) -> torch.Tensor:
            monitor.check()
            result = coupled(x)
            PRODUCT(device, pixels, place, nearest, size, weight, x, result)
            return result

        colour = (colour + conjugate_gradients(apply, right, diagonal)).clamp(0.0, 1.0)
    return colour


def conjugate_gradients(
    apply: Callable[[torch.Tensor], torch.Tensor], right: torch.Tensor, diagonal: torch.Tensor
) -> torch.Tensor:
    """As `meshwright.texture.conjugate.conjugate_gradients`, without asking the device whether it is done."""
    result = torch.zeros_like(right)
    residual, inverse = right.clone(), (1.0 / diagonal)[:, None]
    scaled = inverse * residual
    direction = scaled.clone()
    height = first = _dot(residual, scaled)
    for _ in range(STEPS):
        product = apply(direction)
        going = height > ENOUGH**2 * first
        # Once it is done all further steps have no length: whatever they divide by must not make them NaN.
        length = torch.where(going, height / _dot(direction, product).clamp_min(1e-30), 0.0)
        result += length * direction
        residual -= length * product
        scaled = inverse * residual
        before, height = height, _dot(residual, scaled)
        direction = scaled + height / before.clamp_min(1e-30) * direction
    return result


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).sum()
