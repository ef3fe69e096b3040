"""Between textures of different sizes, and between vertices and texels."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import distance_transform_edt

from meshwright.models.refinement.targets import shrunk
from meshwright.rendering import ops
from meshwright.types import Array, TexturedMesh

__all__ = ["continued", "resized", "vertex_picture"]


def vertex_picture(textured: TexturedMesh, values: Array, size: int, device: str) -> tuple[Array, Array]:
    """Values at vertices [V, C] laid into the texture, float32 [size, size, C], row 0 at v = 0.

    Returns:
        The picture, 0 between charts, and where charts are, bool [size, size].
    """
    uv = torch.from_numpy(np.ascontiguousarray(textured.uv, np.float32)).to(device)
    corners = torch.cat([2 * uv - 1, torch.zeros_like(uv[:, :1]), torch.ones_like(uv[:, :1])], 1)
    layout = torch.from_numpy(np.ascontiguousarray(textured.uv_faces, np.int32)).to(device)
    faces = torch.from_numpy(np.ascontiguousarray(textured.mesh.faces, np.int32)).to(device)
    rast, _ = ops.rasterize(corners[None].contiguous(), layout, (size, size), derivatives=False)
    attributes = torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(device)
    picture, _ = ops.interpolate(attributes, rast, faces)
    return picture[0].cpu().numpy(), (rast[0, ..., 3] > 0).cpu().numpy()


def continued(picture: Array, known: Array) -> Array:
    """What is not known (bool [S, S]) gets the value of the nearest texel that is; [S, S, C]."""
    if known.all() or not known.any():
        return picture
    row, column = distance_transform_edt(~known, return_distances=False, return_indices=True)
    result: Array = picture[row, column]
    return result


def resized(picture: Array, size: int) -> Array:
    """Float32 [S, S, C] averaged over areas to fewer texels, or blended to more: [size, size, C]."""
    if size <= len(picture):
        return shrunk(picture, size, size)
    planes = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(plane, np.float32)).resize((size, size), Image.Resampling.BILINEAR)
        )
        for plane in np.moveaxis(picture, -1, 0)
    ]
    return np.stack(planes, -1)
