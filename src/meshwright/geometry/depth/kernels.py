"""Warp kernel that averages depth codes along surfaces. One source for CPU and CUDA."""

from __future__ import annotations

from meshwright._warp import wp

__all__ = ["relax_kernel"]


@wp.kernel
def relax_kernel(
    # In:
    code: wp.array2d(dtype=wp.float32),  # [H, W] as read; 0 where unknown
    now: wp.array2d(dtype=wp.float32),  # [H, W]
    reach: int,  # distance of the neighbours, pixels
    half_step: float,
    link: float,  # neighbours whose codes differ by more lie on another surface
    # Out:
    then: wp.array2d(dtype=wp.float32),  # [H, W]
):
    row, column = wp.tid()
    mine = code[row, column]
    if mine <= 0.0:
        then[row, column] = 0.0
        return
    total = wp.float32(0.0)
    weight = wp.float32(0.0)
    # Opposite pairs only: a pair's mean continues a slope, a single neighbour would flatten it.
    for pair in range(4):
        dr = wp.int32(reach)
        dc = wp.int32(0)
        w = wp.float32(1.0)
        if pair == 1:
            dr = 0
            dc = reach
        elif pair == 2:
            dc = reach
            w = 0.5
        elif pair == 3:
            dc = -reach
            w = 0.5
        ra = row + dr
        rb = row - dr
        ca = column + dc
        cb = column - dc
        if ra < code.shape[0] and rb >= 0 and ca >= 0 and ca < code.shape[1] and cb >= 0 and cb < code.shape[1]:
            a = code[ra, ca]
            b = code[rb, cb]
            if a > 0.0 and b > 0.0 and wp.abs(a - mine) <= link and wp.abs(b - mine) <= link:
                total += w * 0.5 * (now[ra, ca] + now[rb, cb])
                weight += w
    value = now[row, column]
    if weight > 0.0:
        value = 0.2 * value + 0.8 * total / weight
    then[row, column] = wp.clamp(value, mine - half_step, mine + half_step)
