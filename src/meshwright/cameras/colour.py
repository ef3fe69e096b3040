"""Do the pictures agree in colour? Tells apart rigs that silhouettes cannot, such as a mirrored front view of a face.

A coarse visual hull of the hypothesis stands in for the object. Its surface points that two views see must have about
the same colour in both. The hull is not the object, so the measure compares hypotheses and says nothing by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.sparse import csr_array

from meshwright.cameras.consistency import CameraParameters, inside_field
from meshwright.cameras.silhouettes import Silhouette
from meshwright.types import Array, View

__all__ = ["colour_disagreement", "small_picture"]

_GRID = 72
_HALF = 0.62
_PICTURE = 160


def small_picture(view: View) -> Array:
    """Perceptual (square-root) colours at a working size, the object's colours spread over its edge, [h, w, 3]."""
    shrink = max(view.rgb.shape[:2]) / _PICTURE
    weight = np.clip(view.mask, 0.0, 1.0)
    colour = np.sqrt(np.clip(view.rgb, 0.0, 1.0)) * weight[..., None]
    layers = np.concatenate([colour, weight[..., None]], -1).astype(np.float32)
    height, width = (max(2, round(side / shrink)) for side in weight.shape)
    # A blur of which only every so many rows and columns are wanted.
    tall = _blur_weights(weight.shape[0], height, 0.6 * shrink) @ layers.reshape(len(layers), -1)
    turned = tall.reshape(height, -1, 4).swapaxes(0, 1).reshape(weight.shape[1], -1)
    small = (_blur_weights(weight.shape[1], width, 0.6 * shrink) @ turned).reshape(width, height, 4).swapaxes(0, 1)
    return np.asarray(small[..., :3] / np.maximum(small[..., 3:], 1e-3))


def _blur_weights(old: int, new: int, sigma: float) -> csr_array:
    """A Gaussian blur of `old` cells looked up in the middles of `new` ones, sparse float32 [new, old]."""
    middle = np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
    reach = int(4.0 * sigma + 0.5)
    step = np.arange(-reach, reach + 1)
    weight = np.exp(-0.5 * (step / sigma) ** 2)
    place = (middle[:, None] + step) % (2 * old)
    place = np.where(place < old, place, 2 * old - 1 - place)  # mirrored at the borders
    rows = np.broadcast_to(np.arange(new)[:, None], place.shape)
    values = np.broadcast_to((weight / weight.sum()).astype(np.float32), place.shape)
    return csr_array((values.ravel(), (rows.ravel(), place.ravel())), shape=(new, old))


def _surface(parameters: CameraParameters, silhouettes: Sequence[Silhouette]) -> tuple[Array, Array]:
    """Points [N, 3] just inside the coarse hull and its outward normals [N, 3]."""
    axis = ((np.arange(_GRID) + 0.5) / _GRID * 2 - 1) * _HALF
    field = inside_field(parameters, silhouettes, _HALF, _GRID)
    smooth = ndimage.gaussian_filter(field, 1.5)
    near = (field > 0) & (ndimage.minimum_filter(field, 3) <= 0)
    normal = -np.stack([slope[near] for slope in np.gradient(smooth)], -1)
    points = np.stack([axis[index] for index in np.nonzero(near)], -1) + parameters.pivot
    return points, normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)


def colour_disagreement(
    parameters: CameraParameters, silhouettes: Sequence[Silhouette], pictures: Sequence[Array]
) -> Array:
    """Sums over hull points that two views see, float64 [2, V, V]: squared colour difference, and weight.

    Args:
        parameters: The hypothesis, calibrated.
        silhouettes: One per view.
        pictures: From `small_picture`, one per view.
    """
    points, normal = _surface(parameters, silhouettes)
    cell = 2 * _HALF / _GRID
    colours, weights = [], []
    for view, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        uv = parameters.project(view, points)
        x = np.clip((uv[:, 0] + 1) * width / 2 - 0.5, 0, width - 1)
        y = np.clip(height / 2 - uv[:, 1] * width / 2 - 0.5, 0, height - 1)
        colour = np.stack([ndimage.map_coordinates(picture[..., c], [y, x], order=1) for c in range(3)], -1)
        axes = parameters.axes(view)
        toward = parameters.pivot + axes[2] * parameters.depth_of_pivot(view) - points
        z = toward @ axes[2]
        cosine = (normal * toward).sum(1) / np.linalg.norm(toward, axis=1)
        # Splat depths into cells about as wide as a voxel: what lies well behind the nearest is hidden.
        size = _GRID
        bin_x = np.clip((x / width * size).astype(int), 0, size - 1)
        bin_y = np.clip((y / width * size).astype(int), 0, size - 1)
        nearest = np.full((size, size), np.inf)
        np.minimum.at(nearest, (bin_y, bin_x), z)
        nearest = ndimage.minimum_filter(nearest, 3)
        visible = z < nearest[bin_y, bin_x] + 4 * cell
        colours.append(colour)
        weights.append(np.where(visible, np.clip(cosine - 0.25, 0, None), 0.0))
    sums = np.zeros((2, len(pictures), len(pictures)))
    for a in range(len(pictures)):
        for b in range(a + 1, len(pictures)):
            weight = weights[a] * weights[b]
            # A cap keeps wrong geometry (any difference is possible there) from drowning the rest.
            difference = np.minimum(((colours[a] - colours[b]) ** 2).sum(1), 0.15)
            sums[0, a, b] = sums[0, b, a] = (weight * difference).sum()
            sums[1, a, b] = sums[1, b, a] = weight.sum()
    return sums
