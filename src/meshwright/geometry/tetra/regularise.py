"""What keeps an extracted surface tame while it is fitted; it costs what the surface does, not what the grid does.

Nothing here waits for a GPU, and what a capacity left empty counts for nothing.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from meshwright.geometry.tetra.surface import Surface

__all__ = ["laplacian", "normal_consistency", "sign_changes", "unevenness"]


def sign_changes(sdf: torch.Tensor, crossings: torch.Tensor, scale: float) -> torch.Tensor:
    """How readily crossed edges could do without a crossing: mean binary cross entropy of each end against the other.

    It takes floating bits and inner cavities away that no picture asks for.

    Args:
        sdf: Signed distance of the lattice's vertices, float32 [V].
        crossings: `Surface.crossings`, int32 [N, 2].
        scale: Logits per world unit, such as 1 over the cell.
    Returns:
        A scalar, about 1.4 where values at the ends are small; 0 without crossings.
    Source: Munkberg et al. 2022, arXiv:2111.12503, equation 2 (there the sum), after Liao et al., CVPR 2018.
    """
    index = crossings.reshape(-1).long()
    inner, outer = (sdf.index_select(0, index).view(-1, 2) * scale).unbind(1)
    real = (crossings[:, 0] != crossings[:, 1]).float()
    # The inner end against "outside", the outer end against "inside".
    entropy = functional.softplus(inner) + functional.softplus(-outer)
    return (entropy * real).sum() / real.sum().clamp(min=1)


def laplacian(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Mean squared distance of vertices from the mean of their neighbours, world units squared.

    Args:
        vertices: float32 [V, 3].
        faces: int32 [F, 3]; those with equal corners are none.
    """
    corners = faces.long()
    real = (corners[:, 0] != corners[:, 1]).to(vertices.dtype)
    start = torch.cat([corners[:, i] for i in (0, 1, 2, 1, 2, 0)])
    end = torch.cat([corners[:, i] for i in (1, 2, 0, 0, 1, 2)])
    weight = real.repeat(6)
    degree = vertices.new_zeros(len(vertices)).index_add_(0, start, weight)
    near = vertices.index_select(0, end) * weight[:, None]
    total = torch.zeros_like(vertices).index_add(0, start, near)
    used = (degree > 0).to(vertices.dtype)
    away = (total / degree.clamp(min=1)[:, None] - vertices).square().sum(1) * used
    return away.sum() / used.sum().clamp(min=1)


def normal_consistency(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Mean of 1 less the cosine between the normals of triangles that share an edge.

    Args:
        vertices: float32 [V, 3].
        faces: int32 [F, 3]; those with equal corners are none.
    """
    corners = faces.long()
    a, b, c = (vertices.index_select(0, corners[:, i]) for i in range(3))
    normal = torch.linalg.cross(b - a, c - a)
    # Needles have no direction worth following, and the slope of a length at 0 is infinite.
    length = normal.square().sum(1).clamp(min=1e-24).sqrt()
    normal = normal / length[:, None]
    start, end = corners.roll(-1, 1).reshape(-1), corners.roll(1, 1).reshape(-1)
    name = (torch.minimum(start, end) << 32) | torch.maximum(start, end)
    name, order = torch.sort(name, stable=True)
    face = order // 3
    first, second = face[:-1], face[1:]
    pair = (name[1:] == name[:-1]) & (start[order] != end[order])[1:]
    weight = pair.to(vertices.dtype)
    cosine = (normal.index_select(0, first) * normal.index_select(0, second)).sum(1)
    mean: torch.Tensor = ((1 - cosine) * weight).sum() / weight.sum().clamp(min=1)
    return mean


def unevenness(surface: Surface) -> torch.Tensor:
    """How unevenly far dual vertices are from the crossings they stand for: the paper's L_dev, world units.

    Small values keep quads flat and fit for bending along their edges only. 0 for other extractors.
    Source: Shen et al. 2023, arXiv:2308.05371, equation 8.
    """
    count = (surface.spread.detach() > 0).sum().clamp(min=1)
    return surface.spread.sum() / count
