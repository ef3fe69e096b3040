"""Raising a field around single points against the same said with SciPy's filters over the whole grid."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from meshwright._warp import wp
from meshwright.geometry.rise import SIGMA, raise_field
from meshwright.types import Array

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]


def raised(field: Array, hull: Array, places: Array, demands: Array, device: str) -> Array:
    brought = [wp.array(values, dtype=wp.float32, device=device) for values in (field, hull)]
    raise_field(*brought, places, demands, device)
    return np.asarray(brought[0].numpy())


def raised_reference(field: Array, hull: Array, places: Array, demands: Array) -> Array:
    demand = np.zeros(field.shape, np.float32)
    np.maximum.at(demand, tuple(places.T), demands)
    rise = ndimage.gaussian_filter(ndimage.maximum_filter(demand, 5), SIGMA)
    return np.minimum(field + np.maximum(rise, ndimage.maximum_filter(demand, 3)), hull)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(41, 30, 23), (4, 9, 6)])
def test_it_raises_as_filters_over_the_whole_grid_do(shape: tuple[int, int, int], device: str) -> None:
    """Corners and repeated voxels included. Sums are taken in float64 in SciPy's order: the results are equal, but
    where a device fuses products and sums a float32 may round the other way."""
    rng = np.random.default_rng(3)
    field = rng.normal(size=shape).astype(np.float32)
    hull = field + rng.exponential(0.5, shape).astype(np.float32)
    places = np.stack([rng.integers(0, side, 12) for side in shape], -1)
    places = np.concatenate([places, places[:3], [[0, 0, 0], np.array(shape) - 1]])
    demands = rng.uniform(0.1, 1.0, len(places)).astype(np.float32)
    found = raised(field, hull, places, demands, device)
    expected = raised_reference(field, hull, places, demands)
    assert (expected > field).sum() > 100
    np.testing.assert_allclose(found, expected, rtol=0, atol=0 if device == "cpu" else 5e-7)


@pytest.mark.parametrize("device", DEVICES)
def test_a_lone_demand_is_met_and_stays_local(device: str) -> None:
    field = np.full((32, 32, 32), -1.0, np.float32)
    found = raised(field, np.ones_like(field), np.array([[16, 9, 20]]), np.array([0.7], np.float32), device)
    risen = found - field
    assert risen[16, 9, 20] == pytest.approx(0.7)
    near = np.abs(np.indices(field.shape) - np.array([16, 9, 20])[:, None, None, None]).max(0)
    assert (risen[near > 7] == 0).all()  # two voxels of spread and five of blur
    assert (risen[near <= 7] >= 0).all()


def test_nothing_demanded_changes_nothing() -> None:
    field = np.zeros((8, 8, 8), np.float32)
    assert (raised(field, field + 1, np.zeros((0, 3), int), np.zeros(0, np.float32), "cpu") == field).all()
