"""Warp kernels for the texture on a GPU: the nearest of some pixels, and renders of texels with their transposes.

Letters: H, W pixels of a picture, T side of the texture, M texels that matter, P pixels that count, of all views.
A pixel is the mean of four bilinear look-ups into the texture, so of 16 texels; `numbers_of` and `shares_of` say which
and how much. They are worked out anew whenever they are needed: as a matrix they would take four times the memory.
"""

# mypy: ignore-errors
# (Warp compiles these functions itself; their annotations are its own language.)

from __future__ import annotations

from meshwright._warp import wp

wp.set_module_options({"enable_backward": False})

__all__ = [
    "column_kernel",
    "coupling_kernel",
    "degree_kernel",
    "diagonal_kernel",
    "product_kernel",
    "render_kernel",
    "row_kernel",
    "spread_kernel",
]

NONE = wp.constant(wp.int32(0x7FFFFFFF))
"""Farther than any pixel."""

SIXTEEN = wp.constant(16)
Numbers = wp.types.vector(length=16, dtype=wp.int32)
Shares = wp.types.vector(length=16, dtype=wp.float32)


@wp.kernel
def column_kernel(
    # In:
    wanted: wp.array[wp.uint8],  # [H * W]
    height: wp.int32,
    width: wp.int32,
    # Out:
    nearest: wp.array[wp.int32],  # [H * W] row of the nearest wanted pixel in the same column, or -1
):
    """One thread per column, down and up again."""
    column = wp.tid()
    last = wp.int32(-1)
    for row in range(height):
        i = row * width + column
        if wanted[i] != wp.uint8(0):
            last = row
        nearest[i] = last
    last = wp.int32(-1)
    for back in range(height):
        row = height - 1 - back
        i = row * width + column
        above = nearest[i]
        if above == row:
            last = row
        if last >= 0 and (above < 0 or last - row < row - above):
            nearest[i] = last


@wp.kernel
def row_kernel(
    # In:
    rows: wp.array[wp.int32],  # [H * W] of column_kernel
    width: wp.int32,
    # Out:
    nearest: wp.array[wp.int32],  # [H * W] row * W + column, or -1
    square: wp.array[wp.int32],  # [H * W] squared distance; NONE where there is none
):
    """One thread per pixel: ever further columns, until they alone are too far."""
    i = wp.tid()
    row = i / width
    column = i % width
    best = wp.int32(NONE)
    found = wp.int32(-1)
    far = wp.int32(0)
    reach = wp.max(column, width - 1 - column)
    while far <= reach and far * far < best:
        for side in range(2):
            c = wp.where(side == 0, column - far, column + far)
            if c >= 0 and c < width:
                r = rows[row * width + c]
                if r >= 0:
                    away = far * far + (r - row) * (r - row)
                    if away < best:
                        best = away
                        found = r * width + c
        far += 1
    nearest[i] = found
    square[i] = best


@wp.func
def numbers_of(pixel: wp.int32, place: wp.array[wp.vec2], nearest: wp.array[wp.int32], size: wp.int32) -> Numbers:
    """The texels that a pixel is a mean of; some may be named more than once."""
    numbers = Numbers()
    for s in range(4):
        at = place[4 * pixel + s]
        first = wp.int32(at[1]) * size + wp.int32(at[0])
        numbers[4 * s] = nearest[first]
        numbers[4 * s + 1] = nearest[first + 1]
        numbers[4 * s + 2] = nearest[first + size]
        numbers[4 * s + 3] = nearest[first + size + 1]
    return numbers


@wp.func
def shares_of(pixel: wp.int32, place: wp.array[wp.vec2]) -> Shares:
    """Their shares, whose sum is 1."""
    shares = Shares()
    for s in range(4):
        at = place[4 * pixel + s]
        right = at[0] - wp.float32(wp.int32(at[0]))
        down = at[1] - wp.float32(wp.int32(at[1]))
        shares[4 * s] = 0.25 * (1.0 - right) * (1.0 - down)
        shares[4 * s + 1] = 0.25 * right * (1.0 - down)
        shares[4 * s + 2] = 0.25 * (1.0 - right) * down
        shares[4 * s + 3] = 0.25 * right * down
    return shares


@wp.kernel
def render_kernel(
    # In:
    place: wp.array[wp.vec2],  # [P * 4] column and row in the texture, from the centre of its first texel
    nearest: wp.array[wp.int32],  # [T * T] number of the nearest texel that matters
    size: wp.int32,  # T
    texel: wp.array[wp.vec3],  # [M]
    # Out:
    pixel_out: wp.array[wp.vec3],  # [P]
):
    """A x: what pixels show of the texels."""
    p = wp.tid()
    numbers = numbers_of(p, place, nearest, size)
    shares = shares_of(p, place)
    total = wp.vec3(0.0, 0.0, 0.0)
    for a in range(SIXTEEN):
        total += shares[a] * texel[numbers[a]]
    pixel_out[p] = total


@wp.kernel
def spread_kernel(
    # In:
    place: wp.array[wp.vec2],  # [P * 4]
    nearest: wp.array[wp.int32],  # [T * T]
    size: wp.int32,  # T
    weight: wp.array[wp.float32],  # [P]
    pixel: wp.array[wp.vec3],  # [P]
    # In and out:
    texel: wp.array[wp.vec3],  # [M]
):
    """Adds transposed A times weight times y."""
    p = wp.tid()
    numbers = numbers_of(p, place, nearest, size)
    shares = shares_of(p, place)
    value = weight[p] * pixel[p]
    for a in range(SIXTEEN):
        wp.atomic_add(texel, numbers[a], shares[a] * value)


@wp.kernel
def product_kernel(
    # In:
    place: wp.array[wp.vec2],  # [P * 4]
    nearest: wp.array[wp.int32],  # [T * T]
    size: wp.int32,  # T
    weight: wp.array[wp.float32],  # [P]
    texel: wp.array[wp.vec3],  # [M]
    # In and out:
    product: wp.array[wp.vec3],  # [M]
):
    """Adds transposed A times weight times A x: both at once, so that nothing is kept per pixel."""
    p = wp.tid()
    numbers = numbers_of(p, place, nearest, size)
    shares = shares_of(p, place)
    value = wp.vec3(0.0, 0.0, 0.0)
    for a in range(SIXTEEN):
        value += shares[a] * texel[numbers[a]]
    value = weight[p] * value
    for a in range(SIXTEEN):
        wp.atomic_add(product, numbers[a], shares[a] * value)


@wp.kernel
def diagonal_kernel(
    # In:
    place: wp.array[wp.vec2],  # [P * 4]
    nearest: wp.array[wp.int32],  # [T * T]
    size: wp.int32,  # T
    weight: wp.array[wp.float32],  # [P]
    # In and out:
    diagonal: wp.array[wp.float32],  # [M]
):
    """Adds the diagonal of transposed A times weight times A."""
    p = wp.tid()
    numbers = numbers_of(p, place, nearest, size)
    shares = shares_of(p, place)
    for a in range(SIXTEEN):
        # A texel that a pixel looks at twice counts with the square of the sum, not the sum of the squares.
        whole = wp.float32(0.0)
        for b in range(SIXTEEN):
            if numbers[b] == numbers[a]:
                whole += shares[b]
        wp.atomic_add(diagonal, numbers[a], weight[p] * shares[a] * whole)


@wp.func
def neighbour_of(
    index: wp.array[wp.int32], nearest: wp.array[wp.int32], place: wp.int32, side: wp.int32, size: wp.int32
) -> wp.int32:
    """The number of the texel beside a place of the texture, or -1 where there is none that matters."""
    other = wp.int32(-1)
    if side == 0 and place % size > 0:
        other = place - 1
    if side == 1 and place % size < size - 1:
        other = place + 1
    if side == 2 and place >= size:
        other = place - size
    if side == 3 and place < size * (size - 1):
        other = place + size
    if other < 0:
        return -1
    number = nearest[other]
    if index[number] != other:
        return -1
    return number


@wp.kernel
def coupling_kernel(
    # In:
    index: wp.array[wp.int32],  # [M] row * T + column
    nearest: wp.array[wp.int32],  # [T * T]
    size: wp.int32,  # T
    stiff: wp.float32,
    hold: wp.float32,
    texel: wp.array[wp.vec3],  # [M]
    # Out:
    product: wp.array[wp.vec3],  # [M]
):
    """Differences to the neighbours times `stiff`, plus the texel times `hold`."""
    i = wp.tid()
    own = texel[i]
    total = wp.vec3(0.0, 0.0, 0.0)
    for side in range(4):
        other = neighbour_of(index, nearest, index[i], side, size)
        if other >= 0:
            total += own - texel[other]
    product[i] = stiff * total + hold * own


@wp.kernel
def degree_kernel(
    # In:
    index: wp.array[wp.int32],  # [M]
    nearest: wp.array[wp.int32],  # [T * T]
    size: wp.int32,  # T
    stiff: wp.float32,
    hold: wp.float32,
    # Out:
    diagonal: wp.array[wp.float32],  # [M]
):
    """The diagonal of what `coupling_kernel` applies."""
    i = wp.tid()
    total = hold
    for side in range(4):
        if neighbour_of(index, nearest, index[i], side, size) >= 0:
            total += stiff
    diagonal[i] = total
