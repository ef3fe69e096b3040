"""The views as the optimisation sees them: smaller, premultiplied, in sRGB, bottom row first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from meshwright.colour import linear_to_srgb
from meshwright.device import map_threads
from meshwright.types import Array, View

__all__ = ["shrunk", "targets_of"]


def shrunk(picture: Array, width: int, height: int) -> Array:
    """A float32 picture [H, W, C] averaged over areas to [height, width, C]."""
    if picture.shape[:2] == (height, width):
        return np.ascontiguousarray(picture, np.float32)
    planes = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(plane, np.float32)).resize((width, height), Image.Resampling.BOX)
        )
        for plane in np.moveaxis(picture, -1, 0)
    ]
    return np.stack(planes, -1)


def targets_of(views: Sequence[View], width: int, height: int, device: str) -> torch.Tensor:
    """Colour times cover, and cover: float32 [N, height, width, 4], sRGB 0..1, rows from bottom to top.

    sRGB, because what is compared is what is seen, and because quality is measured there.
    """

    def of_view(view: View) -> Array:
        cover = view.mask[..., None]
        picture = np.concatenate([linear_to_srgb(view.rgb) * cover, cover], -1)
        return shrunk(picture, width, height)[::-1]

    return torch.from_numpy(np.ascontiguousarray(np.stack(map_threads(of_view, views)))).to(device)
