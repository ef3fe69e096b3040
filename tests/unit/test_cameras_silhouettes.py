"""Outlines against circles and rectangles that can be written down."""

from __future__ import annotations

import math

import numpy as np
import pytest

from meshwright.cameras.silhouettes import Silhouette, silhouette_of
from meshwright.types import MaskSource, View
from scenes import Box, Ellipsoid, picture, six

WIDTH = 128
PIXEL = 2 / WIDTH
"""In half picture widths."""
FOCAL = 1 / math.tan(math.radians(13.0))
"""Half picture widths, the default field of view."""


def sphere_outline(radius: float, distance: float = 2.5) -> float:
    """The half-angle's tangent of the cone that touches the sphere, in half picture widths."""
    return FOCAL * radius / math.sqrt(distance**2 - radius**2)


def view_of_mask(mask: np.ndarray) -> View:
    rgb = np.ones((*mask.shape, 3), np.float32)
    return View(name="front", rgb=rgb, mask=mask, mask_source=MaskSource.ALPHA, background=rgb)


@pytest.fixture(scope="module")
def disc() -> Silhouette:
    return silhouette_of(picture([Ellipsoid()], six(WIDTH)[0]))


def test_the_contour_of_a_sphere_is_its_circle(disc: Silhouette) -> None:
    radius = np.linalg.norm(disc.contour, axis=1)
    # Coverage comes in sixteenths and the contour runs straight between pixel centres: a fifth of a pixel.
    np.testing.assert_allclose(radius, sphere_outline(0.4), atol=PIXEL / 5)
    assert abs(radius.mean() - sphere_outline(0.4)) < PIXEL / 20
    # Evenly spread: every sixteenth of the circle has its share of points.
    around, _ = np.histogram(np.arctan2(disc.contour[:, 1], disc.contour[:, 0]), 16, (-np.pi, np.pi))
    assert around.min() > 0.8 * around.mean()


def test_bounds_are_those_of_the_circle(disc: Silhouette) -> None:
    r = sphere_outline(0.4)
    np.testing.assert_allclose(disc.bounds, (-r, -r, r, r), atol=PIXEL / 5)


def test_distance_is_the_distance_to_the_circle(disc: Silhouette) -> None:
    uv = np.random.default_rng(0).uniform(-0.95, 0.95, (500, 2))
    expected = sphere_outline(0.4) - np.linalg.norm(uv, axis=1)
    # The distance transform runs between pixel centres (test_geometry_distance.py): up to half a pixel short.
    np.testing.assert_allclose(disc.sample(uv), expected, atol=0.55 * PIXEL)
    assert np.abs(disc.sample(uv) - expected).mean() < 0.35 * PIXEL


def test_beyond_the_frame_distance_keeps_falling(disc: Silhouette) -> None:
    along = np.stack([np.linspace(0.9, 3.0, 50), np.zeros(50)], -1)
    values = disc.sample(along)
    assert (np.diff(values) < 0).all()
    np.testing.assert_allclose(values, sphere_outline(0.4) - along[:, 0], atol=0.6 * PIXEL)


def test_axes_point_right_and_up() -> None:
    """A box at the object's own left (+X) and high up (+Y) lies right and up in the front view."""
    outline = silhouette_of(picture([Box((0.2, 0.3, -0.1), (0.3, 0.4, 0.1))], six(WIDTH)[0]))
    near, far = FOCAL / 2.4, FOCAL / 2.6
    np.testing.assert_allclose(outline.bounds, (0.2 * far, 0.3 * far, 0.3 * near, 0.4 * near), atol=PIXEL / 5)


@pytest.mark.parametrize(("width", "height"), [(128, 96), (96, 128)])
def test_units_are_half_widths_whatever_the_shape(width: int, height: int) -> None:
    outline = silhouette_of(picture([Ellipsoid(radii=(0.2, 0.2, 0.2))], six(width, height)[0]))
    r = sphere_outline(0.2)
    np.testing.assert_allclose(outline.bounds, (-r, -r, r, r), atol=0.2 / (width / 2))


def test_large_pictures_are_shrunk_without_a_shift() -> None:
    camera = six(512, 384)[0]
    solid = [Ellipsoid((0.1, -0.05, 0.0), (0.2, 0.15, 0.2))]
    view = picture(solid, camera, samples=2)
    small, full = silhouette_of(view, size=128), silhouette_of(view, size=512)
    assert small.distance.shape == (96, 128)
    np.testing.assert_allclose(small.bounds, full.bounds, atol=0.1 / 64)


def test_mirroring_twice_is_nothing_and_once_exchanges_left_and_right() -> None:
    outline = silhouette_of(picture([Box((0.0, -0.2, -0.1), (0.3, 0.4, 0.1))], six(WIDTH)[0]))
    flipped = outline.mirrored()
    uv = np.random.default_rng(1).uniform(-1, 1, (100, 2))
    np.testing.assert_allclose(flipped.sample(uv * [-1, 1]), outline.sample(uv), atol=1e-6)
    np.testing.assert_allclose(flipped.bounds, (-outline.bounds[2], outline.bounds[1], 0, outline.bounds[3]), atol=0.02)
    twice = flipped.mirrored()
    np.testing.assert_array_equal(twice.distance, outline.distance)
    np.testing.assert_array_equal(twice.contour, outline.contour)
    assert twice.bounds == outline.bounds


def test_thinning_keeps_points_of_the_contour(disc: Silhouette) -> None:
    thin = disc.thinned(25)
    assert len(thin.contour) == 25
    assert {tuple(p) for p in thin.contour} <= {tuple(p) for p in disc.contour}
    assert thin.bounds == disc.bounds
    assert disc.thinned(10_000) is disc


def test_holes_have_outlines_too() -> None:
    mask = np.zeros((64, 64), np.float32)
    mask[8:56, 8:56] = 1
    mask[24:40, 24:40] = 0
    outline = silhouette_of(view_of_mask(mask))
    inner = np.abs(outline.contour).max(1) < 0.5
    assert 0.15 < inner.mean() < 0.35  # its length is a quarter of all: 64 of 256
    assert outline.sample(np.zeros(2)) < 0


def test_an_empty_mask_has_one_point_in_the_middle_and_is_outside_everywhere() -> None:
    outline = silhouette_of(view_of_mask(np.zeros((40, 40), np.float32)))
    np.testing.assert_array_equal(outline.contour, [[0, 0]])
    assert (outline.distance < 0).all()


def test_a_full_mask_has_the_frame_as_its_outline() -> None:
    outline = silhouette_of(view_of_mask(np.ones((40, 60), np.float32)))
    np.testing.assert_allclose(outline.bounds, (-1, -2 / 3, 1, 2 / 3), atol=0.5 / 30)
