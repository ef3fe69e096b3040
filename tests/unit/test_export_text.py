"""Numbers as text: the same characters as Python's own formatting gives."""

from __future__ import annotations

import numpy as np
import pytest

from meshwright.export.text import decimals, lines, wholes
from meshwright.types import Array


def awkward() -> Array:
    """float32: powers of ten and their neighbours, ties, zeros, subnormals, the largest, and bit patterns by chance."""
    tens = np.float32(10) ** np.arange(-12, 12, dtype=np.float32)
    near = [tens, np.nextafter(tens, np.float32(0)), np.nextafter(tens, np.float32(np.inf))]
    ties = np.arange(1, 4000, 2, dtype=np.float32)[:, None] / 2.0 ** np.arange(1, 14, dtype=np.float32)
    odd = np.array([0, 1e-45, 1.1e-38, 3.4028235e38, 0.1, 999999.5, 9.9999996e-5, np.inf, np.nan], np.float32)
    rng = np.random.default_rng(1)
    patterns = rng.integers(0, 1 << 32, 5000, np.uint32).view(np.float32)
    finite = patterns[np.isfinite(patterns)]
    found = np.concatenate([*near, ties.ravel(), odd, finite, rng.normal(0, 1, 20000).astype(np.float32)])
    return np.concatenate([found, -found])


@pytest.mark.parametrize("digits", [6, 9])
def test_decimals_are_those_of_percent_g(digits: int) -> None:
    values = awkward()
    written = lines(decimals(values, digits)).decode().split("\n")[:-1]
    assert written == [f"{value:.{digits}g}" for value in values.tolist()]


def test_nine_digits_bring_every_float32_back() -> None:
    values = awkward()
    values = values[np.isfinite(values)]
    back = np.array(lines(decimals(values, 9)).split(), np.float64).astype(np.float32)
    np.testing.assert_array_equal(back.view(np.uint32), values.view(np.uint32))


@pytest.mark.parametrize("most", [0, 9, 10, 99_999, 2**31 - 2])
def test_wholes_are_those_of_str(most: int) -> None:
    values = np.unique(np.linspace(0, most, 1000).astype(np.int64)).astype(np.int32)
    assert lines(wholes(values)).decode().split("\n")[:-1] == [str(value) for value in values.tolist()]


def test_lines_put_words_and_numbers_together() -> None:
    numbers = np.array([0.5, -12, 3e-7], np.float32)
    written = lines(b"at ", decimals(numbers, 6), b"/", wholes(np.array([7, 100, 0])), b";")
    assert written == b"at 0.5/7;\nat -12/100;\nat 3e-07/0;\n"
    assert lines(b"v", decimals(np.zeros(0, np.float32), 9)) == b""
