"""The texture that looks most like all views at once: a robust least-squares problem over all texels.

Letters: V views, P pixels of one view that count, M texels, E pairs of neighbouring texels.
Sought is the texture x, in sRGB since likeness is judged as it is seen, that makes

    sum over views and pixels:  rho(|A x - photograph|)
    + stiff * sum over neighbours i, j:  |(x - start)_i - (x - start)_j|^2  +  hold * sum over texels:  |x - start|^2

least. A renders: each pixel is the mean of `SAMPLES` x `SAMPLES` bilinear look-ups. `start`, the blend of the views,
decides where pixels say little, and the second term lets it decide what is finer than the pixels; without it, texels
between the samples of one view would turn into a hatching in the colours of another.
rho grows slower than the square (Cauchy), so what one view says against all others counts little.
The minimum is found by reweighting, and conjugate gradients within.
Source: Holland and Welsch, "Robust regression using iteratively reweighted least-squares", 1977.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from meshwright.colour import linear_to_srgb
from meshwright.device import cpu_threads, map_threads
from meshwright.geometry.atlas import Atlas
from meshwright.rendering import rasterize_mesh
from meshwright.texture.conjugate import conjugate_gradients
from meshwright.texture.sight import JudgedView
from meshwright.texture.texels import Texels
from meshwright.types import Array, Camera, Mesh, Monitor

__all__ = ["Pixels", "render_matrix", "solve_texture"]

SAMPLES = 2
"""Look-ups per pixel, along and across."""
ROUNDS = 2
"""How often weights are found anew; a third round changes next to nothing."""
STEPS = 12
"""Conjugate gradients at most, a round."""
MOST_BANDS = 16
"""Parts that texels are divided into at most, one for each core."""
ENOUGH = 1e-2
"""The residual may shrink to this share of its start in a round."""


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """What one view says about the texels.

    Attributes:
        matrix: Render of texel values, float32 sparse [P, M].
        colour: The photograph, sRGB float32 [P, 3].
    """

    matrix: sparse.csr_array
    colour: Array


def render_matrix(mesh: Mesh, atlas: Atlas, texels: Texels, view: JudgedView, camera: Camera, *, device: str) -> Pixels:
    """The pixels of a view that show one surface and nothing else, as means of texels."""
    height, width = view.whole.shape
    seen = rasterize_mesh(mesh, camera.resized(width * SAMPLES, height * SAMPLES), device=device)

    def by_pixel(values: Array) -> Array:
        """[SAMPLES * H, SAMPLES * W, ...] to [H, W, SAMPLES ** 2, ...]."""
        tail = values.shape[2:]
        parted = values.reshape(height, SAMPLES, width, SAMPLES, *tail).swapaxes(1, 2)
        return parted.reshape(height, width, SAMPLES**2, *tail)

    face = by_pixel(seen.face_id)
    use = (face >= 0).all(-1) & view.whole
    face, bary = face[use], by_pixel(seen.bary)[use]
    size = texels.size
    corners = atlas.uv[atlas.uv_faces[face]]
    place = np.einsum("psc,pscd->psd", bary, corners)
    column = np.clip(place[..., 0] * size - 0.5, 0.0, size - 1.001)
    row = np.clip((1.0 - place[..., 1]) * size - 0.5, 0.0, size - 1.001)
    left, top = column.astype(np.int32), row.astype(np.int32)
    right, down = column - left, row - top
    first = top * size + left
    texel = np.stack([first, first + 1, first + size, first + size + 1], -1)
    share = np.stack(
        [(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down], -1, dtype=np.float32
    )
    number = texels.nearest[texel.ravel()].astype(np.int32)
    count = len(face)
    pointer = np.arange(count + 1, dtype=np.int32) * (4 * SAMPLES**2)
    matrix = sparse.csr_array(
        (share.ravel() / np.float32(SAMPLES**2), number, pointer), shape=(count, len(texels.index))
    )
    matrix.sum_duplicates()
    return Pixels(matrix=matrix, colour=linear_to_srgb(view.photograph[use]))


def neighbours(texels: Texels) -> sparse.csr_array:
    """Differences of texels side by side or one above the other, float32 sparse [E, M]."""
    size, count = texels.size, len(texels.index)
    flat = np.full(size * size, -1, np.int32)
    flat[texels.index] = np.arange(count, dtype=np.int32)
    grid = flat.reshape(size, size)
    pairs = []
    for one, other in ((grid[:, :-1], grid[:, 1:]), (grid[:-1], grid[1:])):
        both = (one >= 0) & (other >= 0)
        pairs.append(np.stack([one[both], other[both]], -1))
    pair = np.concatenate(pairs)
    signs = np.tile(np.array([-1.0, 1.0], np.float32), len(pair))
    pointer = np.arange(len(pair) + 1, dtype=np.int32) * 2
    return sparse.csr_array((signs, pair.ravel(), pointer), shape=(len(pair), count))


def solve_texture(
    start: Array,
    texels: Texels,
    views: Sequence[Pixels],
    *,
    stiff: float,
    hold: float,
    doubt: float,
    monitor: Monitor,
) -> Array:
    """The best texel colours.

    Args:
        start: What to stay near to, sRGB float32 [M, 3].
        texels: Where texels lie.
        views: What is seen of them.
        stiff: Pull of neighbouring texels' changes to each other, against 1 for a pixel.
        hold: Pull of each texel to `start`, more than 0.
        doubt: Difference from the photograph, in sRGB, that halves a pixel's say; inf for plain least squares.
        monitor: Asked before every step whether to stop.
    Returns:
        float32 [M, 3] in 0..1.
    """
    difference = neighbours(texels)
    pull = sparse.csr_array(stiff * (difference.T @ difference) + hold * sparse.eye_array(len(start), dtype=np.float32))
    render = sparse.csr_array(sparse.vstack([view.matrix for view in views], format="csr"))
    bands = _bands(render, pull.astype(np.float32))
    photograph = np.concatenate([view.colour for view in views])
    colour = start.copy()
    for _ in range(ROUNDS if np.isfinite(doubt) else 1):
        monitor.check()
        lack = photograph - _rendered(views, colour)
        weight = (1.0 / (1.0 + np.square(lack).mean(-1, keepdims=True) / doubt**2)).astype(np.float32)
        change = _step(views, bands, weight, lack, colour - start, monitor)
        colour = np.clip(colour + change, 0.0, 1.0)
    return colour


@dataclass(frozen=True)
class _Band:
    """Some texels in a row, B of them, and what one core adds up for them.

    Attributes:
        texels: Which.
        seen: The part of all pixels of all views that each of them is, float32 sparse [B, P].
        pull: Of neighbours and of the start, float32 sparse [B, M].
    """

    texels: slice
    seen: sparse.csr_array
    pull: sparse.csr_array


def _bands(render: sparse.csr_array, pull: sparse.csr_array) -> list[_Band]:
    """As much to do in each; a texel's sum is the same however many there are."""
    seen = sparse.csr_array(render.T.tocsr())
    work = seen.indptr.astype(np.int64) + pull.indptr
    count = min(cpu_threads(), MOST_BANDS)
    ends = np.searchsorted(work, np.linspace(0, work[-1], count + 1))
    ends[0], ends[-1] = 0, len(work) - 1
    return [_Band(slice(int(a), int(b)), seen[a:b], pull[a:b]) for a, b in itertools.pairwise(ends) if b > a]


def _step(
    views: Sequence[Pixels], bands: Sequence[_Band], weight: Array, lack: Array, change: Array, monitor: Monitor
) -> Array:
    """By what texels should change further, float32 [M, C].

    Args:
        views: What is seen of the texels.
        bands: The texels.
        weight: Of each pixel, float32 [P, 1].
        lack: What it differs from the photograph by, float32 [P, C].
        change: Of the texels so far, float32 [M, C].
        monitor: Asked before every step whether to stop.
    """
    said, counted = weight * lack, weight[:, 0]
    right = _filled(bands, change.shape, lambda band: band.seen @ said - band.pull @ change)
    diagonal = _filled(
        bands, change.shape[:1], lambda band: band.seen.power(2) @ counted + band.pull.diagonal(band.texels.start)
    )

    def apply(x: Array) -> Array:
        monitor.check()
        seen = weight * _rendered(views, x)
        return _filled(bands, x.shape, lambda band: band.seen @ seen + band.pull @ x)

    return conjugate_gradients(apply, right, diagonal, steps=STEPS, enough=ENOUGH)


def _filled(bands: Sequence[_Band], shape: tuple[int, ...], of: Callable[[_Band], Array]) -> Array:
    """What `of` says of each band, one after the other, float32."""
    found = np.empty(shape, np.float32)

    def put(band: _Band) -> None:
        found[band.texels] = of(band)

    map_threads(put, bands)
    return found


def _rendered(views: Sequence[Pixels], colour: Array) -> Array:
    """Texel values [M, C] as all views see them, one view after the other, float32 [P, C]."""
    return np.concatenate(map_threads(lambda view: np.asarray(view.matrix @ colour), views))
