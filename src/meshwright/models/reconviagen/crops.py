"""The user's views as the networks take them: each seen through a camera that looks straight at the object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional

from meshwright.device import map_threads
from meshwright.models.reconviagen.lifting import HALF, MASK_SIZE, PICTURE_SIZE, Seen
from meshwright.models.sides import look_straight, sides_seen
from meshwright.types import Array, Camera, View

__all__ = ["SLOTS", "Frame", "look_straight", "shown", "slots_of"]

SLOTS = (
    ((0, 0, 1), (0, 1, 0)),
    ((0, 0, -1), (0, 1, 0)),
    ((1, 0, 0), (0, 1, 0)),
    ((-1, 0, 0), (0, 1, 0)),
    ((0, 1, 0), (0, 0, 1)),
    ((0, -1, 0), (0, 0, 1)),
)
"""From where each slot looks, and which way is up in its picture; the order of `VIEW_NAMES`."""
_FINE = 4
"""Pictures are sampled so many times finer than they are used, and averaged."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Where the object is: its middle in the world, float64 [3], and its longest side in world units."""

    centre: Array
    size: float


def slots_of(cameras: Sequence[Camera], frame: Frame) -> dict[int, int]:
    """Which camera fills which slot: the one that looks most nearly along it. Others only go into the hull."""
    return sides_seen(cameras, frame.centre)


def shown(
    views: Sequence[View], cameras: Sequence[Camera], frame: Frame, depths: dict[int, Array] | None = None
) -> Seen:
    """One object's views, B = 1, on the CPU.

    Args:
        views: Any number; at most one for each slot is shown.
        cameras: One per view, in pixels of its picture.
        frame: Where the object is.
        depths: z in world units by view, float32 [H, W] of any size, 0 where not known.
    """
    found = slots_of(cameras, frame)
    depths = depths or {}

    def crop(slot: int) -> tuple[torch.Tensor, ...]:
        if slot not in found:
            stand, up = (np.array(v, float) for v in SLOTS[slot])
            axes = np.stack([np.cross(up, stand), up, stand])
            blank = torch.zeros(MASK_SIZE, MASK_SIZE), torch.zeros(6, PICTURE_SIZE, PICTURE_SIZE)
            return *blank, torch.from_numpy(axes), torch.from_numpy(2.5 * stand), torch.tensor([3.0, 0.0, 0.0])
        index = found[slot]
        return _crop(views[index], cameras[index], slot, frame, depths.get(index))

    masks, pictures, rotations, positions, lenses = zip(*map_threads(crop, range(len(SLOTS))), strict=True)
    present = torch.tensor([[float(slot in found) for slot in range(len(SLOTS))]])
    return Seen(
        present=present,
        mask=torch.stack(masks)[None].float(),
        picture=torch.stack(pictures)[None].float(),
        rotation=torch.stack(rotations)[None].float(),
        position=torch.stack(positions)[None].float(),
        lens=torch.stack(lenses)[None].float(),
    )


def _crop(
    view: View, camera: Camera, slot: int, frame: Frame, depth: Array | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mask, picture, rotation, position and lens of a view turned to look straight at the object, slot side up."""
    position = (camera.position - frame.centre) / frame.size
    distance = float(np.linalg.norm(position))
    back = position / distance
    right = np.cross(np.array(SLOTS[slot][1], float), back)
    right /= np.linalg.norm(right)
    up = np.cross(back, right)
    focal = (distance - HALF) / 0.62
    place = _places(camera, -back, right, up, focal, MASK_SIZE * _FINE)
    mask = _sampled(np.asarray(view.mask, np.float32)[None], place)
    mask = functional.avg_pool2d(mask, _FINE)[0, 0]
    rough = _places(camera, -back, right, up, focal, PICTURE_SIZE * _FINE)
    solid = np.concatenate([view.rgb * view.mask[..., None], view.mask[..., None]], 2).transpose(2, 0, 1)
    picture = functional.avg_pool2d(_sampled(np.ascontiguousarray(solid, np.float32), rough), _FINE)[0]
    cover = picture[3:]
    colour = (picture[:3] / cover.clamp(min=1e-6)).clamp(0, 1).sqrt() * cover
    towards, known = torch.zeros_like(cover), torch.zeros_like(cover)
    if depth is not None:
        place = _places(camera, -back, right, up, focal, PICTURE_SIZE)
        z = _sampled(np.ascontiguousarray(depth, np.float32)[None], place, nearest=True)[0]
        known = ((z > 0) & (cover > 0.99)).float()
        # Along the crop's axis, not along the camera's own.
        ray = torch.from_numpy(_rays(-back, right, up, focal, PICTURE_SIZE) @ camera.forward).float()
        towards = (distance - z / frame.size / ray) * known
    rotation = torch.from_numpy(np.stack([right, up, back]))
    lens = torch.tensor([focal, 0.0, 0.0])
    return mask, torch.cat([cover, colour, towards, known]), rotation, torch.from_numpy(position), lens


def _rays(forward: Array, right: Array, up: Array, focal: float, size: int) -> Array:
    """World directions of a crop's pixels, 1 along its axis, float64 [size, size, 3]."""
    line = (np.arange(size) + 0.5) / size * 2 - 1
    return forward + right * (line / focal)[None, :, None] - up * (line / focal)[:, None, None]


def _places(camera: Camera, forward: Array, right: Array, up: Array, focal: float, size: int) -> torch.Tensor:
    """Where the pixels of a crop lie in the camera's picture, -1..1, float32 [1, size, size, 2]."""
    pixels, z = camera.project(camera.position + _rays(forward, right, up, focal, size))
    place = np.stack([pixels[..., 0] / camera.width, pixels[..., 1] / camera.height], -1) * 2 - 1
    # What lies behind the camera lies in no picture.
    place[z <= 0] = -9.0
    return torch.from_numpy(place.astype(np.float32))[None]


def _sampled(values: Array, place: torch.Tensor, *, nearest: bool = False) -> torch.Tensor:
    """Values [C, H, W] at places; 0 beyond the picture."""
    return functional.grid_sample(
        torch.from_numpy(values)[None],
        place,
        mode="nearest" if nearest else "bilinear",
        align_corners=False,
        padding_mode="zeros",
    )
