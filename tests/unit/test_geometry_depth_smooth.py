"""Depth between the codes: better on average, never farther than half a step from what was read, edges left alone."""

from __future__ import annotations

import numpy as np
import pytest

from meshwright.geometry.depth.smooth import dequantise
from meshwright.types import Array

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]
STEP = 1 / 255
SIZE = 120
Y, X = np.mgrid[:SIZE, :SIZE].astype(float)
ROUND = np.hypot(X - 60, Y - 60) < 50


def quantised(true: Array) -> Array:
    return (np.rint(true / STEP) * STEP).astype(np.float32)


SURFACES = {
    # A code every 3.6 columns and 10 rows.
    "plane": 0.4 + 0.0011 * X + 0.0004 * Y,
    # Terraces wider than the longest reach.
    "nearly level plane": 0.4 + 0.0001 * X + 0.00005 * Y,
    # What a sphere of 0.4 looks like from 2.5 with z / z_max as code: 0.84 in the middle, 1.0 at the rim.
    "sphere": 1.0 - 0.16 * np.sqrt(np.clip(1 - ((X - 60) / 58) ** 2 - ((Y - 60) / 58) ** 2, 0, 1)),
    "saddle": 0.5 + 2e-5 * ((X - 60) ** 2 - (Y - 60) ** 2),
}
ERROR_LEFT = {"plane": 0.13, "nearly level plane": 0.33, "sphere": 0.27, "saddle": 0.16}
"""Of the quantisation's mean error, a quarter of a step. Measured 0.10, 0.27, 0.21 and 0.12: towards its rim the sphere
is so steep that neighbouring pixels differ by many codes, and nothing is gained there."""


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", SURFACES)
def test_the_surface_between_the_codes_is_recovered(name: str, device: str) -> None:
    true = SURFACES[name]
    read = quantised(true)
    found = dequantise(read, ROUND, STEP, device=device)
    before, after = (np.abs(values - true)[ROUND].mean() for values in (read, found))
    assert after < ERROR_LEFT[name] * before


@pytest.mark.parametrize("name", SURFACES)
def test_no_value_moves_by_more_than_half_a_step(name: str) -> None:
    read = quantised(SURFACES[name])
    found = dequantise(read, ROUND, STEP)
    # Half a step, and one float32 rounding of numbers below 1.
    assert np.abs(found - read)[ROUND].max() <= 0.5 * STEP + 1e-7
    assert (found[~ROUND] == 0).all()


def test_an_edge_between_two_surfaces_stays() -> None:
    """Two planes 30 codes apart: neither is drawn towards the other."""
    true = np.where(X < 60, 0.4, 0.52) + 0.0011 * Y
    found = dequantise(quantised(true), np.ones(true.shape, bool), STEP)
    beside = np.abs(X - 59.5) < 3
    assert np.abs(found - true)[beside].mean() < 0.25 * STEP
    assert np.diff(found, axis=1)[:, 59].min() > 0.11


def test_a_flat_surface_stays_as_it_is() -> None:
    read = np.full((40, 40), 100 * STEP, np.float32)
    np.testing.assert_allclose(dequantise(read, np.ones(read.shape, bool), STEP), read, atol=1e-7)


def test_nothing_valid_is_nothing() -> None:
    assert not dequantise(np.full((20, 30), 0.5, np.float32), np.zeros((20, 30), bool), STEP).any()


def test_what_was_handed_in_is_not_changed() -> None:
    read = quantised(SURFACES["plane"])
    kept = read.copy()
    dequantise(read, ROUND, STEP)
    np.testing.assert_array_equal(read, kept)
