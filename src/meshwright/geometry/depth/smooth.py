"""Depth between the codes: 8-bit renders lie on terraces; the surface between them is recovered.

A code says that the true value lies within half a step of it. Of all surfaces that keep this promise the flattest is
taken: neighbours on one surface are averaged again and again, coarse grid first, and each value is put back within its
half step. Steep places and edges, where neighbours differ by many codes, stay as they are.
"""

from __future__ import annotations

import numpy as np

from meshwright._warp import wp
from meshwright.geometry.depth.kernels import relax_kernel
from meshwright.types import Array

__all__ = ["dequantise"]


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
