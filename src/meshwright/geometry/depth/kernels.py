"""Warp kernels that bend depth codes into a smooth surface. One source for CPU and CUDA."""

from __future__ import annotations

from meshwright._warp import wp

__all__ = ["link_kernel", "relax_kernel", "spread_kernel"]


@wp.func
def linked(code: wp.array2d(dtype=wp.float32), row: int, column: int, beside: float, link: float):
    """Is this pixel of the picture, known, and on the surface of a neighbour with the code `beside`?"""
    if row < 0 or column < 0 or row >= code.shape[0] or column >= code.shape[1]:
        return False
    there = code[row, column]
    return there > 0.0 and wp.abs(there - beside) <= link


@wp.func
def offset_of(pair: int, reach: int) -> wp.vec2i:
    """Rows and columns to one of a pair of opposite neighbours; to the other it is as far the other way."""
    if pair == 0:
        return wp.vec2i(reach, 0)
    if pair == 1:
        return wp.vec2i(0, reach)
    if pair == 2:
        return wp.vec2i(reach, reach)
    return wp.vec2i(reach, -reach)


@wp.kernel
def link_kernel(
    # In:
    code: wp.array2d(dtype=wp.float32),  # [H, W] as read; 0 where unknown
    reach: int,  # distance of the neighbours, pixels; launched on every `reach`-th row and column
    link: float,  # neighbours whose codes differ by more lie on another surface
    # Out:
    links: wp.array2d(dtype=wp.int32),  # [H, W] bit p: pair p is on this surface; bit 4 + p: and the next pair is, too
):
    i, j = wp.tid()
    row = i * reach
    column = j * reach
    mine = code[row, column]
    found = wp.int32(0)
    if mine > 0.0:
        # Opposite pairs only: a pair's mean continues a slope, a single neighbour would flatten it.
        for pair in range(4):
            d = offset_of(pair, reach)
            if linked(code, row + d[0], column + d[1], mine, link) and linked(
                code, row - d[0], column - d[1], mine, link
            ):
                found += 1 << pair
                a = code[row + d[0], column + d[1]]
                b = code[row - d[0], column - d[1]]
                if linked(code, row + 2 * d[0], column + 2 * d[1], a, link) and linked(
                    code, row - 2 * d[0], column - 2 * d[1], b, link
                ):
                    found += 16 << pair
    links[row, column] = found


@wp.kernel
def relax_kernel(
    # In:
    code: wp.array2d(dtype=wp.float32),  # [H, W] as read; 0 where unknown
    links: wp.array2d(dtype=wp.int32),  # [H, W] from `link_kernel` with the same reach
    now: wp.array2d(dtype=wp.float32),  # [H, W]
    reach: int,
    half_step: float,
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
    value = now[row, column]
    found = links[row, column]
    if found > 0:
        total = wp.float32(0.0)
        weight = wp.float32(0.0)
        for pair in range(4):
            if (found >> pair) & 1 == 1:
                d = offset_of(pair, reach)
                w = wp.float32(1.0)
                if pair > 1:
                    w = 0.5
                near = 0.5 * (now[row + d[0], column + d[1]] + now[row - d[0], column - d[1]])
                guess = near
                if (found >> (4 + pair)) & 1 == 1:
                    # Continues a curvature, too: (4 near - far) / 3 is where the fourth difference vanishes.
                    far = 0.5 * (now[row + 2 * d[0], column + 2 * d[1]] + now[row - 2 * d[0], column - 2 * d[1]])
                    guess = near + (near - far) / 3.0
                total += w * guess
                weight += w
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
