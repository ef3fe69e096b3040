"""Warp kernel that bends depth codes into a smooth surface. One source for CPU and CUDA."""

from __future__ import annotations

from meshwright._warp import wp

__all__ = ["relax_kernel", "spread_kernel"]


@wp.func
def linked(code: wp.array2d(dtype=wp.float32), row: int, column: int, beside: float, link: float):
    """Is this pixel of the picture, known, and on the surface of a neighbour with the code `beside`?"""
    if row < 0 or column < 0 or row >= code.shape[0] or column >= code.shape[1]:
        return False
    there = code[row, column]
    return there > 0.0 and wp.abs(there - beside) <= link


@wp.kernel
def relax_kernel(
    # In:
    code: wp.array2d(dtype=wp.float32),  # [H, W] as read; 0 where unknown
    now: wp.array2d(dtype=wp.float32),  # [H, W]
    reach: int,  # distance of the neighbours, pixels; launched on every `reach`-th row and column
    half_step: float,
    link: float,  # neighbours whose codes differ by more lie on another surface
    # Out:
    then: wp.array2d(dtype=wp.float32),  # [H, W]
):
    # Only every `reach`-th row and column takes part: the grid of this reach.
    i, j = wp.tid()
    row = i * reach
    column = j * reach
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
        if linked(code, row + dr, column + dc, mine, link) and linked(code, row - dr, column - dc, mine, link):
            near = 0.5 * (now[row + dr, column + dc] + now[row - dr, column - dc])
            guess = near
            a = code[row + dr, column + dc]
            b = code[row - dr, column - dc]
            if linked(code, row + 2 * dr, column + 2 * dc, a, link) and linked(
                code, row - 2 * dr, column - 2 * dc, b, link
            ):
                # Continues a curvature, too: (4 near - far) / 3 is where the fourth difference vanishes.
                far = 0.5 * (now[row + 2 * dr, column + 2 * dc] + now[row - 2 * dr, column - 2 * dc])
                guess = near + (near - far) / 3.0
            total += w * guess
            weight += w
    value = now[row, column]
    if weight > 0.0:
        # At most 0.75 of the way, or the shortest waves would grow: for them the guess is -5/3 of the value.
        value = 0.4 * value + 0.6 * total / weight
    then[row, column] = wp.clamp(value, mine - half_step, mine + half_step)


@wp.kernel
def spread_kernel(
    # In:
    code: wp.array2d(dtype=wp.float32),  # [H, W]
    reach: int,  # every 2 * reach-th row and column is settled, every reach-th is wanted
    half_step: float,
    link: float,
    # In and out:
    now: wp.array2d(dtype=wp.float32),  # [H, W]
):
    """Start the next finer grid from the middle between settled neighbours on the same surface."""
    i, j = wp.tid()
    between_rows = i % 2
    between_columns = j % 2
    if between_rows + between_columns == 0:
        return
    row = i * reach
    column = j * reach
    mine = code[row, column]
    if mine <= 0.0:
        return
    dr = reach * between_rows
    dc = reach * between_columns
    total = wp.float32(0.0)
    weight = wp.float32(0.0)
    if linked(code, row + dr, column + dc, mine, link) and linked(code, row - dr, column - dc, mine, link):
        total += 0.5 * (now[row + dr, column + dc] + now[row - dr, column - dc])
        weight += 1.0
    both = between_rows + between_columns == 2
    if both and linked(code, row + dr, column - dc, mine, link) and linked(code, row - dr, column + dc, mine, link):
        total += 0.5 * (now[row + dr, column - dc] + now[row - dr, column + dc])
        weight += 1.0
    if weight > 0.0:
        now[row, column] = wp.clamp(total / weight, mine - half_step, mine + half_step)
