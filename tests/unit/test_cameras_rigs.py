"""Rigs: what the frame's table says, all 32 of them, their names, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from meshwright.cameras import DEFAULT_RIG, RIGS, Rig, default_rig, rig_cameras
from meshwright.cameras.rigs import different_rigs
from meshwright.errors import OptionError
from meshwright.types import VIEW_NAMES

X, Y, Z = np.eye(3)

STANDS_UP_RIGHT = {
    "front": (Z, Y, X),
    "back": (-Z, Y, -X),
    "left": (X, Y, -Z),
    "right": (-X, Y, Z),
    "top": (Y, Z, -X),
    "bottom": (-Y, Z, X),
}
"""The default rig as the sample data's table has it: where the camera stands, image up, image right."""


def test_default_rig_is_the_frame_of_the_sample_data() -> None:
    for camera in default_rig([(768, 768)] * 6):
        stands, up, right = STANDS_UP_RIGHT[camera.name]
        np.testing.assert_array_equal(camera.position, 2.5 * stands)
        np.testing.assert_array_equal(camera.forward, -stands)
        np.testing.assert_array_equal(camera.camera_to_world[:3, 1], up)
        np.testing.assert_array_equal(camera.camera_to_world[:3, 0], right)


def test_names_order_and_field_of_view() -> None:
    cameras = default_rig([(640, 480)] * 6)
    assert tuple(camera.name for camera in cameras) == VIEW_NAMES
    for camera in cameras:
        assert (camera.width, camera.height, camera.cx, camera.cy) == (640, 480, 320, 240)
        assert camera.fl_x == camera.fl_y
        assert 2 * math.degrees(math.atan2(320, camera.fl_x)) == pytest.approx(26.0, abs=1e-9)


def test_every_picture_may_have_its_own_size() -> None:
    sizes = [(100 + 10 * i, 90 + i) for i in range(6)]
    assert [(c.width, c.height) for c in default_rig(sizes)] == sizes


def test_there_are_32_rigs_and_all_differ() -> None:
    assert len(RIGS) == 32
    assert len({rig.name for rig in RIGS}) == 32
    assert DEFAULT_RIG in RIGS
    poses = {np.stack([c.camera_to_world for c in rig_cameras(rig, [(8, 8)] * 6)]).tobytes() for rig in RIGS}
    assert len(poses) == 32


@pytest.mark.parametrize("rig", RIGS, ids=lambda rig: rig.name)
def test_every_rig_is_a_set_of_right_handed_frames_that_look_at_the_origin(rig: Rig) -> None:
    for camera, direction, up in zip(rig_cameras(rig, [(8, 8)] * 6), rig.directions(), rig.ups(), strict=True):
        axes = camera.camera_to_world[:3, :3]
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-15)
        assert np.linalg.det(axes) == pytest.approx(1.0)
        np.testing.assert_array_equal(camera.position, 2.5 * direction)
        np.testing.assert_allclose(camera.project(np.zeros(3))[0], [4, 4], atol=1e-12)
        # A step along `up` goes up in the picture: towards row 0.
        assert camera.project(0.1 * up)[0][1] < 4


@pytest.mark.parametrize("rig", RIGS, ids=lambda rig: rig.name)
def test_a_name_reads_back_as_the_rig(rig: Rig) -> None:
    assert Rig.parse(rig.name) == rig


@pytest.mark.parametrize(
    ("text", "rig"),
    [
        ("default", Rig()),
        ("left=-x", Rig(left="-x")),
        ("top=-Z", Rig(top_up="-z")),
        (" bottom=+x , left=-x ", Rig(left="-x", bottom_up="+x")),
    ],
)
def test_missing_parts_are_the_defaults(text: str, rig: Rig) -> None:
    assert Rig.parse(text) == rig


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sideways", "'sideways' names no rig"),
        ("", "'' names no rig"),
        ("left", "'left' names no rig"),
        ("left=", "'left=' names no rig"),
        ("front=+x", "'front=[+]x' names no rig"),
        ("left=+z", "There is no rig '[+]z', '[+]z', '[+]z'"),
        ("top=+y", "There is no rig '[+]x', '[+]y'"),
    ],
)
def test_what_names_no_rig_is_refused(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        Rig.parse(text)
    assert caught.value.code == "input.option"
    assert caught.value.hint


def test_a_rig_has_six_views() -> None:
    with pytest.raises(OptionError, match="A rig has 6 views, got 5"):
        default_rig([(8, 8)] * 5)


def test_a_rig_of_some_views_has_their_cameras() -> None:
    sizes = dict(zip(VIEW_NAMES, [(8, 8), (10, 8), (12, 8), (14, 8), (16, 8), (18, 8)], strict=True))
    whole = {camera.name: camera for camera in rig_cameras(RIGS[-1], list(sizes.values()))}
    for camera in rig_cameras(RIGS[-1], [sizes["top"], sizes["back"]], ["top", "back"]):
        np.testing.assert_array_equal(camera.camera_to_world, whole[camera.name].camera_to_world)
        assert (camera.fl_x, camera.width) == (whole[camera.name].fl_x, whole[camera.name].width)


@pytest.mark.parametrize(
    ("names", "count"),
    [
        (VIEW_NAMES, 32),
        (VIEW_NAMES[:5], 8),
        (VIEW_NAMES[:4], 2),
        (("front", "left", "top"), 8),
        (("front", "left"), 2),
        (("front", "top"), 4),
        # Left on either side is the same but for a half turn of object, top and bottom together.
        (("left", "top"), 4),
        (("left", "right", "top", "bottom"), 16),
        (("top", "bottom", "front", "back"), 16),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else str(value),
)
def test_rigs_that_some_views_can_tell_apart(names: tuple[str, ...], count: int) -> None:
    rigs = different_rigs(names)
    assert len(rigs) == count
    assert DEFAULT_RIG in rigs
    assert different_rigs(names, (RIGS[-1],)) == (RIGS[-1],)
