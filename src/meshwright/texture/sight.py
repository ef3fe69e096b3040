"""What one view sees of the surface, and how far it can be trusted there.

Letters: H, W pixels of the view, M points on the surface.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, maximum_filter, minimum_filter

from meshwright._warp import wp
from meshwright.rendering import Fragments
from meshwright.rendering.rasterize import load_kernels
from meshwright.texture import kernels
from meshwright.types import Array, Camera, View

__all__ = ["Sight", "ViewMaps", "see_points", "view_maps"]

SOLID_MASK = 0.98
"""A pixel with less coverage carries background colour."""


@dataclass(frozen=True, kw_only=True)
class ViewMaps:
    """One view with what is known about each of its pixels.

    Attributes:
        camera: In pixels of the view.
        rgb: Linear colour float32 [H, W, 3].
        z: Depth of the mesh float32 [H, W]; inf where there is none.
        trust: float32 [H, W], 0 on background and within a pixel or two of any silhouette, rising to 1 some pixels
            inside.
        clean: bool [H, W], pixels that hold nothing but object colour.
    """

    camera: Camera
    rgb: Array
    z: Array
    trust: Array
    clean: Array


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What a view sees of M points.

    Attributes:
        pixel: Position in the view float32 [M, 2]; any value where `visible` is 0.
        cosine: Of the angle between normal and the direction to the camera, float32 [M], at least 0.
        visible: 0..1 float32 [M]: share of the four pixels around that see this very surface.
        trust: `ViewMaps.trust` there times `visible`, float32 [M].
    """

    pixel: Array
    cosine: Array
    visible: Array
    trust: Array


def view_maps(view: View, camera: Camera, fragments: Fragments, erode: float, ramp: float) -> ViewMaps:
    """Judge the pixels of a view: background and the neighbourhood of every silhouette are not to be trusted.

    Args:
        erode: Pixels next to a silhouette that count for nothing.
        ramp: Pixels over which the trust then rises to 1.
    """
    z = fragments.z
    solid = (view.mask >= SOLID_MASK) & (fragments.face_id >= 0)
    # An occluding edge: depth jumps by more than a surface at 80 degrees could over one pixel.
    finite = np.where(np.isfinite(z), z, 1e3).astype(np.float32)
    jump = maximum_filter(finite, 3) - minimum_filter(finite, 3) > 12.0 * finite / camera.fl_x
    clean = solid & ~jump
    if not clean.any():
        trust = np.zeros(clean.shape, np.float32)
    else:
        # The frame's border is no silhouette, but nothing is known beyond it.
        inside = distance_transform_edt(np.pad(clean, 1))[1:-1, 1:-1]
        trust = np.clip((inside - erode) / ramp, 0.0, 1.0).astype(np.float32)
    return ViewMaps(camera=camera, rgb=view.rgb, z=z, trust=trust, clean=clean)


def see_points(maps: ViewMaps, position: Array, normal: Array, *, device: str) -> Sight:
    """Project points into a view and test which of them it sees.

    A point is hidden where the rendered depth is nearer than its own by more than the surface's slope explains.
    """
    load_kernels(kernels.__name__, device)
    count = len(position)
    pixel = wp.empty(count, dtype=wp.vec2, device=device)
    cosine, visible, trust = (wp.empty(count, dtype=wp.float32, device=device) for _ in range(3))
    camera = maps.camera
    matrix = camera.world_to_camera
    wp.launch(
        kernels.see_kernel,
        count,
        [
            wp.array(position, dtype=wp.vec3, device=device),
            wp.array(normal, dtype=wp.vec3, device=device),
            wp.mat33(*matrix[:3, :3].ravel().tolist()),
            wp.vec3(*matrix[:3, 3].tolist()),
            wp.vec4(camera.fl_x, camera.fl_y, camera.cx, camera.cy),
            wp.array(maps.z, dtype=wp.float32, device=device),
            wp.array(maps.trust, dtype=wp.float32, device=device),
        ],
        [pixel, cosine, visible, trust],
        device=device,
    )
    return Sight(pixel=pixel.numpy(), cosine=cosine.numpy(), visible=visible.numpy(), trust=trust.numpy())
