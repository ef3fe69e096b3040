"""Carrying the views' pixels to the texels.

Letters: V views, M texels, G vertices of the surface graph, T side of the texture.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from meshwright._warp import wp
from meshwright.device import cpu_threads, map_threads
from meshwright.rendering.rasterize import load_kernels
from meshwright.texture import kernels
from meshwright.texture.sight import JudgedView
from meshwright.texture.surface import SurfaceGraph
from meshwright.texture.texels import Texels
from meshwright.types import Array

__all__ = ["Gathered", "TexelLoader"]

SPARE = 2e-3
"""Weight of views that see a texel but were not chosen for it: they step in where the chosen one is blind."""


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """What the views say about each texel.

    Attributes:
        detail: Weighted mean of colour minus base, float32 [M, 3]; 0 where no view sees the texel.
        grade: Best trust times cosine of any view, float32 [M].
    """

    detail: Array
    grade: Array


class TexelLoader:
    """Texels and shares as kernels on a CPU take them, to gather into again and again."""

    def __init__(self, texels: Texels, graph: SurfaceGraph, share: Array, *, device: str) -> None:
        load_kernels(kernels.__name__, device)
        self.device = device
        self.count = len(texels.index)
        self._graph = [
            wp.array(graph.mesh.faces, dtype=wp.vec3i, device=device),
            wp.array(graph.mesh.vertices, dtype=wp.vec3, device=device),
            wp.array(graph.mesh.vertex_normals(), dtype=wp.vec3, device=device),
        ]
        self._share = [wp.array(s, dtype=wp.float32, device=device) for s in share]
        bounds = np.linspace(0, self.count, 4 * cpu_threads() + 1).astype(int)
        self._parts = [slice(int(a), int(b)) for a, b in itertools.pairwise(bounds) if b > a]
        self._texels = [
            [
                wp.array(texels.graph_face[part], dtype=wp.int32, device=device, copy=False),
                wp.array(texels.graph_bary[part], dtype=wp.vec3, device=device, copy=False),
            ]
            for part in self._parts
        ]

    def gather(self, views: Sequence[JudgedView], images: Sequence[Any], bases: Sequence[Array]) -> Gathered:
        """Weighted mean of the views' pixels over each texel.

        Args:
            views: What can be seen.
            images: Their colour, one picture per view, vec3 [H, W] on the device.
            bases: Per view, what to subtract, float32 [G, 3].
        """
        device = self.device
        floors = [wp.array(np.ascontiguousarray(b, np.float32), dtype=wp.vec3, device=device) for b in bases]

        detail, best = np.empty((self.count, 3), np.float32), np.empty(self.count, np.float32)

        def one(part: int) -> None:
            count = self._parts[part].stop - self._parts[part].start
            total = wp.zeros(count, dtype=wp.vec3, device=device)
            weight, grade = (wp.zeros(count, dtype=wp.float32, device=device) for _ in range(2))
            for view, image, share, floor in zip(views, images, self._share, floors, strict=True):
                inputs = [*self._texels[part], *self._graph, share, floor, view.eye, view.depth, view.trust, image]
                wp.launch(kernels.gather_kernel, count, [*inputs, SPARE], [total, weight, grade], device=device)
            np.divide(total.numpy(), np.maximum(weight.numpy(), 1e-9)[:, None], out=detail[self._parts[part]])
            best[self._parts[part]] = grade.numpy()

        map_threads(one, range(len(self._parts)))
        return Gathered(detail=detail, grade=best)

    def add(self, field: Array, values: Array) -> None:
        """Add a field on the graph's vertices, float32 [G, 3], to texel values, float32 [M, 3], in place."""
        device = self.device
        corners = wp.array(np.ascontiguousarray(field, np.float32), dtype=wp.vec3, device=device)

        def one(part: int) -> None:
            target = wp.array(values[self._parts[part]], dtype=wp.vec3, device=device, copy=False)
            inputs = [*self._texels[part], self._graph[0], corners]
            wp.launch(kernels.look_up_kernel, len(target), inputs, [target], device=device)

        map_threads(one, range(len(self._parts)))
