"""Depth between the codes: 8-bit renders lie on terraces; the surface between them is recovered.

A code says that the true value lies within half a step of it. Of all surfaces that keep this promise the flattest is
taken: neighbours on one surface are averaged again and again, coarse grid first, and each value is put back within its
half step. Steep places and edges, where neighbours differ by many codes, stay as they are.
"""

from __future__ import annotations

import numpy as np

from meshwright._warp import wp
from meshwright.types import Array

__all__ = ["dequantise"]


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
    total = 0.0
    weight = 0.0
    # Opposite pairs only: a pair's mean continues a slope, a single neighbour would flatten it.
    for pair in range(4):
        dr = reach
        dc = 0
        w = 1.0
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


def dequantise(values: Array, valid: Array, step: float, *, device: str = "cpu", iterations: int = 24) -> Array:
    """Values float32 [H, W] moved within half a step so that the surface is smooth; 0 where not valid.

    Args:
        values: Codes times `step`, float32 [H, W].
        valid: bool [H, W].
        step: Size of one code.
        device: Warp device.
        iterations: Averaging rounds at each of the reaches 16, 8, 4, 2, 1.
    """
    code = np.where(valid, values, 0.0).astype(np.float32)
    codes = wp.array(code, dtype=wp.float32, device=device)
    now, then = wp.clone(codes), wp.empty_like(codes)
    for reach in (16, 8, 4, 2, 1):
        # Within `reach` pixels a surface of moderate slope crosses a code or two more.
        link = step * (2.5 + 0.25 * reach)
        for _ in range(iterations):
            wp.launch(
                relax_kernel,
                dim=code.shape,
                inputs=[codes, now, reach, 0.5 * step, link],
                outputs=[then],
                device=device,
            )
            now, then = then, now
    return np.asarray(now.numpy())
