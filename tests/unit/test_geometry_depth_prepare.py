"""Depth renders of every kind become depth in world units, with normals and trust, against closed-form depth."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from meshwright.device import checking
from meshwright.errors import Cancelled
from meshwright.geometry.depth.prepare import PreparedDepth, prepare_depth
from meshwright.geometry.volume import Volume, find_bounds, hull_volume
from meshwright.geometry.working import WorkingViews, working_views
from meshwright.types import Array, DepthKind, View
from scenes import (
    FACE,
    TOOL,
    Box,
    Dented,
    Ellipsoid,
    Solid,
    disturbed,
    entry_depth,
    pixel_grid,
    six,
    views_of,
    with_depth,
)

WIDTH = 128
SOLIDS: dict[str, tuple[Solid, ...]] = {
    "face": FACE,
    "tool": TOOL,
    "dent": (Dented(Ellipsoid(), Ellipsoid((0.0, 0.1, 0.42), (0.22, 0.22, 0.22))),),
}


@functools.cache
def depths(name: str, width: int = WIDTH) -> tuple[Array, ...]:
    return tuple(entry_depth(SOLIDS[name], camera) for camera in six(width))


@functools.cache
def scene(name: str, width: int = WIDTH) -> tuple[tuple[View, ...], WorkingViews, Volume]:
    cameras = six(width)
    views = views_of(SOLIDS[name], cameras).views
    working = working_views(views, cameras, 1024)
    low, high = find_bounds(working, "cpu")
    return views, working, hull_volume(working, low, high, float((high - low).max()) / 64, "cpu")


def linear_far(z: Array) -> Array:
    return z / z.max()


def linear_near(z: Array) -> Array:
    return 0.95 - 0.8 * (z - z.min()) / np.ptp(z)


def inverse_near(z: Array) -> Array:
    return (120 + 135 * (1 / z - 1 / z.max()) / np.ptp(1 / z)) / 255


def tenths_of_millimetres(z: Array) -> Array:
    return z * 10000 / 65535


def with_depths(name: str, encode: Callable[[Array], Array], kind: DepthKind = DepthKind.AUTO) -> list[View]:
    metric = kind is DepthKind.METRIC
    return [
        with_depth(view, z, kind, encode=encode, bits=16 if metric else 8)
        for view, z in zip(scene(name)[0], depths(name), strict=True)
    ]


def prepare(views: list[View], name: str, *, frame: str = "rig") -> PreparedDepth | None:
    _, working, hull = scene(name)
    return prepare_depth(views, working, hull, given_cameras=frame == "given", rig_frame=frame == "rig", device="cpu")


def prepared(views: list[View], name: str, *, frame: str = "rig") -> PreparedDepth:
    result = prepare(views, name, frame=frame)
    assert result is not None
    return result


def errors(result: PreparedDepth, name: str) -> list[float]:
    """Mean distance along the axis to the true surface, view by view."""
    found = []
    for slot, z in zip(result.surface[..., 0], depths(name), strict=True):
        known = (slot > 0) & np.isfinite(z)
        found.append(float(np.abs(slot - z)[known].mean()))
    return found


@pytest.mark.parametrize("name", ["face", "dent"])
@pytest.mark.parametrize(
    ("encode", "words", "limit"),
    [
        # A step of linear_far is 0.011 on its 2.8: a quarter of that is rounding alone. Measured 0.003.
        (linear_far, "linear, far is bright", 0.006),
        (inverse_near, "inverse, near is bright", 0.003),
    ],
    ids=["linear far", "inverse near"],
)
def test_relative_depth_is_brought_to_world_units(
    name: str, encode: Callable[[Array], Array], words: str, limit: float
) -> None:
    result = prepared(with_depths(name, encode), name)
    assert [row["kind"] for row in result.report] == [words] * 6
    assert result.warnings == ()
    assert max(errors(result, name)) < limit


def test_views_agree_on_the_surface_not_on_its_terraces() -> None:
    """A dented ball in eight bits lies where it is, on average over each view: steps of `linear_far` are 0.011.

    Measured: up to 0.0005. Where views agree while their surfaces are terraces still, each of them lies nearer to its
    camera, by 0.0009 to 0.0017.
    """
    views, working, hull = scene("dent", 256)
    true = depths("dent", 256)
    given = [with_depth(view, z, DepthKind.AUTO, encode=linear_far) for view, z in zip(views, true, strict=True)]
    result = prepare_depth(given, working, hull, given_cameras=False, rig_frame=True, device="cpu")
    assert result is not None
    for found, z in zip(result.surface, true, strict=True):
        known = (found[..., 0] > 0) & np.isfinite(z)
        # Along the normal: where the surface is steep its depth is off by more.
        off = ((found[..., 0] - np.where(known, z, 0.0)) * found[..., 3])[known]
        assert abs(off.mean()) < 0.0006


@pytest.mark.parametrize("name", ["face", "dent"])
@pytest.mark.parametrize("frame", ["rig", "free"])
def test_metric_depth_needs_no_unit(name: str, frame: str) -> None:
    result = prepared(with_depths(name, tenths_of_millimetres, DepthKind.METRIC), name, frame=frame)
    # On a rig the unit is taken for the round one that it nearly is; in a free frame the hull says it, within 0.1 %.
    assert max(errors(result, name)) < (1e-4 if frame == "rig" else 3e-3)
    assert {row["kind"] for row in result.report} == {"metric"}


def test_a_given_unit_is_used_as_it_is() -> None:
    views = [
        replace(v, depth=replace(v.depth, unit=6.5535)) if v.depth else v
        for v in with_depths("face", tenths_of_millimetres, DepthKind.METRIC)
    ]
    result = prepared(views, "face", frame="given")
    assert max(errors(result, "face")) < 1e-4
    assert [row["a"] for row in result.report] == [6.5535] * 6


def test_16_bit_relative_depth_that_claims_to_be_metric_is_explained_by_the_hull() -> None:
    views = [
        with_depth(view, z, DepthKind.METRIC, encode=inverse_near, bits=16)
        for view, z in zip(scene("face")[0], depths("face"), strict=True)
    ]
    result = prepared(views, "face")
    assert {row["kind"] for row in result.report} == {"inverse, near is bright"}
    assert max(errors(result, "face")) < 0.003


def test_renders_of_another_crop_are_registered() -> None:
    """Every render 2 % narrower and shifted by up to 4 pixels."""
    rng = np.random.default_rng(0)
    views = []
    for view, camera in zip(scene("face")[0], six(WIDTH), strict=True):
        right, down = rng.uniform(-0.03, 0.03, 2)
        z = entry_depth(FACE, disturbed(camera, 0.98, right, down))
        views.append(with_depth(view, z, DepthKind.AUTO, encode=inverse_near))
    result = prepared(views, "face")
    assert max(errors(result, "face")) < 0.006
    for row in result.report:
        assert row["registration_scale"] == pytest.approx([1 / 0.98] * 2, rel=3e-3)
        assert row["registration_error_pixels"] < 0.5  # type: ignore[operator]


def test_normals_are_those_of_the_surface() -> None:
    """The face's first ellipsoid, where it is what the front sees."""
    views = with_depths("face", tenths_of_millimetres, DepthKind.METRIC)
    result = prepared(views, "face")
    camera, z = six(WIDTH)[0], depths("face")[0]
    whole = FACE[0].span(camera.position, camera.unproject(pixel_grid(camera), np.ones(z.shape)) - camera.position)[0]
    # Inside the ellipsoid's own picture, away from the nose and from the rim.
    mine = (z == whole) & (result.trust[0] > 0.9)
    points = camera.unproject(pixel_grid(camera), np.where(np.isfinite(z), z, 1.0))
    gradient = points / np.array(FACE[0].radii) ** 2
    normal = gradient / np.linalg.norm(gradient, axis=-1, keepdims=True)
    cosine = (normal @ camera.camera_to_world[:3, :3] * result.surface[0, ..., 1:]).sum(-1)[mine]
    assert mine.sum() > 500
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean() < 2.0
    np.testing.assert_allclose(np.linalg.norm(result.surface[0, ..., 1:][mine], axis=-1), 1, atol=1e-5)


def test_trust_is_low_at_rims_and_edges_and_full_in_the_middle() -> None:
    result = prepared(with_depths("face", tenths_of_millimetres, DepthKind.METRIC), "face")
    trust, z = result.trust[0], depths("face")[0]
    assert trust.min() >= 0
    assert trust.max() <= 1
    assert (trust[~np.isfinite(z)] == 0).all()
    # Beside the nose, on a part that faces the camera, nothing is doubted.
    assert trust[40, 64] == 1.0
    rim = np.isfinite(z) & ~np.isfinite(np.roll(z, 1, 1))
    assert trust[rim].max() < 0.5


def test_a_render_of_something_else_is_left_out_and_said() -> None:
    views = with_depths("tool", linear_far)
    views[2] = with_depth(scene("tool")[0][2], depths("face")[2], DepthKind.AUTO, encode=linear_far)
    result = prepared(views, "tool")
    (warning,) = result.warnings
    assert warning.startswith("The depth of view left is not used: it")
    assert [row["view"] for row in result.report] == ["front", "back", "right", "top", "bottom"]
    assert not result.surface[2].any()
    assert not result.trust[2].any()


def test_a_view_without_depth_is_passed_over() -> None:
    views = with_depths("face", linear_far)
    views[1] = replace(views[1], depth=None)
    result = prepared(views, "face")
    assert result.warnings == ()
    assert "back" not in [row["view"] for row in result.report]
    assert not result.trust[1].any()


def test_an_empty_render_is_said() -> None:
    views = with_depths("face", linear_far)
    empty = views[4].depth
    assert empty is not None
    views[4] = replace(views[4], depth=replace(empty, values=empty.values * 0, valid=empty.valid & False))
    result = prepared(views, "face")
    assert result.warnings == ("The depth of view top is not used: it shows too little.",)


def test_no_depth_at_all_is_none() -> None:
    assert prepare(list(scene("face")[0]), "face") is None


def test_two_runs_are_equal() -> None:
    views = with_depths("face", inverse_near)
    one, other = prepared(views, "face"), prepared(views, "face")
    np.testing.assert_array_equal(one.surface, other.surface)
    np.testing.assert_array_equal(one.trust, other.trust)
    np.testing.assert_array_equal(one.band, other.band)
    assert one.report == other.report


def test_it_can_be_stopped_anywhere() -> None:
    """Registration, explanation and agreement ask again and again whether to go on."""
    views = with_depths("face", inverse_near)

    def stopped_after(allowed: float) -> int:
        asked = 0

        def check() -> None:
            nonlocal asked
            asked += 1
            if asked > allowed:
                raise Cancelled("stop")

        with contextlib.suppress(Cancelled), checking(check):
            prepare(views, "face", frame="free")
        return asked

    checks = stopped_after(np.inf)
    # Six views in ten rounds of agreement alone.
    assert checks > 60 + 12
    for allowed in (0, checks // 3, checks - 1):
        # Once more for every view that waits for its turn.
        assert allowed < stopped_after(allowed) <= allowed + 6


def of_another(name: str, other: str, encode: Callable[[Array], Array]) -> list[View]:
    return [replace(v, depth=w.depth) for v, w in zip(scene(name)[0], with_depths(other, encode), strict=True)]


def test_renders_of_another_object_in_all_views_are_not_used() -> None:
    result = prepared(of_another("tool", "face", linear_far), "tool")
    assert result.report == []
    assert not result.trust.any()
    assert len(result.warnings) == 6
    assert result.warnings[0].startswith("The depth of view front is not used: its outline is not the picture's")


def with_noise(name: str, *, rough: bool) -> list[View]:
    """Outlines are right, what they hold is not."""
    rng = np.random.default_rng(0)
    views = []
    for view, true in zip(scene(name)[0], with_depths(name, linear_far), strict=True):
        assert true.depth is not None
        noise = rng.uniform(0.2, 1.0, true.depth.values.shape)
        if not rough:
            noise = ndimage.gaussian_filter(noise, 10)
            noise = 0.2 + 0.8 * (noise - noise.min()) / np.ptp(noise)
        values = np.where(true.depth.valid, noise, 0).astype(np.float32)
        views.append(replace(view, depth=replace(true.depth, values=values)))
    return views


@pytest.mark.parametrize("rough", [True, False], ids=["white", "smooth"])
@pytest.mark.parametrize("name", ["face", "tool"])
def test_noise_is_not_used(name: str, rough: bool) -> None:
    result = prepared(with_noise(name, rough=rough), name)
    assert result.report == []
    assert len(result.warnings) == 6
    assert all("contradict" in warning for warning in result.warnings)


def test_exact_depth_is_used_where_few_rows_touch() -> None:
    """A plate seen edge-on is five pixels high: no more rows than that can say whether its depth fits."""
    plate = (Box((-0.4, -0.02, -0.3), (0.4, 0.02, 0.3)),)
    cameras = six(WIDTH)
    views = [
        with_depth(view, entry_depth(plate, camera), DepthKind.METRIC, encode=tenths_of_millimetres, bits=16)
        for view, camera in zip(views_of(plate, cameras).views, cameras, strict=True)
    ]
    views = [replace(v, depth=replace(v.depth, unit=6.5535)) for v in views if v.depth]
    working = working_views(views, cameras, 1024)
    low, high = find_bounds(working, "cpu")
    hull = hull_volume(working, low, high, float((high - low).max()) / 64, "cpu")
    result = prepare_depth(views, working, hull, given_cameras=True, rig_frame=False, device="cpu")
    assert result is not None
    assert result.warnings == ()
    assert [row["kind"] for row in result.report] == ["metric"] * 6
