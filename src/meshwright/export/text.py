"""Numbers as text, a whole column at a time: what Python's % gives, without a step of the interpreter per number.

A field is uint8 [N, W]: on each row the characters of one number, anywhere, with 0 where there is none.
"""

from __future__ import annotations

import numpy as np

from meshwright.types import Array

__all__ = ["decimals", "lines", "wholes"]

_THREE = np.array([list(b"%03d" % number) for number in range(1000)], np.uint8)
_SMALLEST = -4
"""Power of ten below which %g turns to powers of ten."""


def wholes(values: Array) -> Array:
    """`%d` of integers from 0 on, [N], as a field."""
    width = len(str(int(values.max(initial=0))))
    rest: Array = values.astype(np.uint32 if width < 10 else np.uint64)
    field = np.empty((len(rest), width), np.uint8)
    for place in range(width - 1, -1, -1):
        left: Array = rest // 10
        field[:, place] = rest - 10 * left + ord("0")
        if place < width - 1:
            field[rest == 0, place] = 0  # a leading zero
        rest = left
    return field


def decimals(values: Array, digits: int) -> Array:
    """`%.6g` or `%.9g` of float32 numbers, [N], as a field.

    Args:
        values: float32 [N].
        digits: 6 or 9; nine bring every float32 back exactly.
    """
    exact = values.astype(np.float64)
    size = np.abs(exact)
    tens = 10.0 ** np.arange(_SMALLEST, digits)
    power = np.searchsorted(tens, size, side="right") + _SMALLEST - 1
    power[size == 0] = 0
    plain = (power >= _SMALLEST) & (power < digits - 2)  # by one more once it is rounded
    power[~plain] = 0
    # 24 bits times 5**12 at most: the product is exact, and so is the rounding, half to even as % has it.
    whole = np.rint(np.where(plain, size, 0) * 10.0 ** (digits - 1 - power)).astype(np.int32)
    over = whole == 10**digits
    whole[over] //= 10
    power += over
    full = np.concatenate([_THREE[whole // 1000**part % 1000] for part in range(digits // 3 - 1, -1, -1)], 1)
    kept = np.maximum.accumulate((full != ord("0"))[:, ::-1], 1)[:, ::-1]  # all but zeros at the end
    short = full * kept
    field = np.zeros((len(exact), digits + 6), np.uint8)
    field[np.signbit(exact), 0] = ord("-")
    for step in np.unique(power):
        rows = np.flatnonzero(power == step)
        if step < 0:
            field[rows, 1 : 2 - step] = np.frombuffer(b"0." + b"0" * (-step - 1), np.uint8)
            field[rows, 2 - step : 2 - step + digits] = short[rows]
        else:
            field[rows, 1 : 2 + step] = full[rows, : step + 1]
            field[rows, 2 + step] = np.where(kept[rows, step + 1], ord("."), 0)
            field[rows, 3 + step : 2 + digits] = short[rows, step + 1 :]
    for row in np.flatnonzero(~plain):
        text = f"{exact[row]:.{digits}g}".encode()
        field[row] = 0
        field[row, : len(text)] = np.frombuffer(text, np.uint8)
    return field


def lines(*parts: bytes | Array) -> bytes:
    """Lines of text.

    Args:
        parts: What each line is put together from: fields of one length N, and words that are the same on all lines.
    """
    count = next(len(part) for part in parts if not isinstance(part, bytes))
    columns = [
        np.broadcast_to(np.frombuffer(part, np.uint8), (count, len(part))) if isinstance(part, bytes) else part
        for part in parts
    ]
    table = np.concatenate([*columns, np.full((count, 1), ord("\n"), np.uint8)], 1)
    return bytes(table[table != 0])
