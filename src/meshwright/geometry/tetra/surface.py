"""What an extraction gives, whichever extractor made it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from meshwright.types import Mesh

__all__ = ["Capacity", "Surface"]


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """Room for a surface of unknown size: with it an extraction never waits for the GPU, and can be in a CUDA graph.

    What does not fit is left out, and `Surface.counts` tells: look at it now and then.
    """

    vertices: int
    faces: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Surface:
    """A triangle mesh whose vertices follow the values that it was extracted from.

    Attributes:
        vertices: float32 [V, 3], world; differentiable. With a capacity those beyond `counts[0]` are 0.
        faces: int32 [F, 3], counter-clockwise from outside. With a capacity those beyond `counts[1]` are (0, 0, 0),
            which has no area.
        counts: How many vertices and faces there are, also where they exceed a capacity, int32 [2], on the device.
        crossings: Lattice vertices at the inner and at the outer end of each crossed edge, int32 [N, 2]; beyond
            a capacity (0, 0).
        spread: How unevenly far each vertex is from the crossings that it stands for, float32 [D], differentiable
            (the first D vertices); empty where each vertex is a crossing.
    """

    vertices: torch.Tensor
    faces: torch.Tensor
    counts: torch.Tensor
    crossings: torch.Tensor
    spread: torch.Tensor

    def fits(self) -> bool:
        """Whether the capacity was enough; waits for the GPU."""
        vertices, faces = self.counts.tolist()
        return bool(vertices <= len(self.vertices) and faces <= len(self.faces))

    def mesh(self) -> Mesh:
        """A copy in main memory without what is empty; waits for the GPU."""
        vertices, faces = self.counts.tolist()
        return Mesh(
            vertices=self.vertices.detach()[:vertices].cpu().numpy().astype(np.float32),
            faces=np.ascontiguousarray(self.faces[:faces].cpu().numpy()),
        )
