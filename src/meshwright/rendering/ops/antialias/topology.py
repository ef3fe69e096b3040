"""Which triangle lies beyond each edge of each triangle."""

from __future__ import annotations

import torch

from meshwright.rendering.ops.checks import check_triangles

__all__ = ["build_neighbours", "build_topology"]


def build_topology(tri: torch.Tensor) -> torch.Tensor:
    """For `antialias(..., topology=...)`; make it once for triangles that stay the same.

    Args:
        tri: Vertex indices, int32 [F, 3]; the two triangles of an edge name the same vertices.
    Returns:
        int32 [F, 3]: the third corner of the triangle beyond the edge opposite to corner i; -1 where there is none or
        more than one.
    """
    beyond = _beyond(tri)
    corner = tri.reshape(-1)[beyond.clamp(min=0)] if len(tri) else tri.reshape(-1)
    return torch.where(beyond >= 0, corner, -1).view(-1, 3).to(torch.int32)


def build_neighbours(tri: torch.Tensor) -> torch.Tensor:
    """For `antialias(..., neighbours=...)`: the triangle beyond the edge opposite to corner i, int32 [F, 3], or -1."""
    beyond = _beyond(tri)
    return torch.where(beyond >= 0, beyond // 3, -1).view(-1, 3).to(torch.int32)


def _beyond(tri: torch.Tensor) -> torch.Tensor:
    """Which of all corners lies opposite to the same edge in another triangle, int64 [3 F]; -1 for none."""
    check_triangles(tri, tri.device)
    corners = tri.long()
    start, end = corners.roll(-1, 1).reshape(-1), corners.roll(1, 1).reshape(-1)
    name = (torch.minimum(start, end) << 32) | torch.maximum(start, end)
    name, order = torch.sort(name, stable=True)
    # In order, the two sides of an edge are neighbours; a third one spoils both. No step waits for the GPU.
    same = torch.zeros(len(name) + 3, dtype=torch.bool, device=tri.device)
    same[2:-2] = name[1:] == name[:-1]
    with_before, with_next = same[1:-2], same[2:-1]
    pair_first = with_next & ~with_before & ~same[3:]
    pair_second = with_before & ~with_next & ~same[:-3]
    beyond = torch.where(pair_first, order.roll(-1), torch.where(pair_second, order.roll(1), -1))
    result = torch.empty_like(order)
    result[order] = beyond
    return result
