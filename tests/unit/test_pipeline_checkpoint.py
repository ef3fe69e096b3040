"""Checkpoints give back exactly what was saved, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshwright.checkpoint import Checkpoints, chain_key, decode, encode
from meshwright.errors import OutputError
from meshwright.types import Camera, DepthKind, MaskSource, Mesh, View, ViewSet

TYPES = [Camera, DepthKind, MaskSource, Mesh, View, ViewSet]


def view(name: str, seed: int) -> View:
    rng = np.random.default_rng(seed)
    return View(
        name=name,
        rgb=rng.random((4, 5, 3), np.float32),
        mask=rng.random((4, 5), np.float32),
        mask_source=MaskSource.ALPHA,
        background=np.ones((4, 5, 3), np.float32),
    )


def tetrahedron() -> Mesh:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    return Mesh(vertices=vertices, faces=np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32))


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, TYPES)
    value = (tetrahedron(), {"kind": DepthKind.METRIC, "numbers": [1, 2.5, None, True, "text"], 3: ()})
    checkpoints.save("shape", "key", value)
    mesh, rest = Checkpoints(tmp_path, TYPES).load("shape", "key", tuple)
    np.testing.assert_array_equal(mesh.vertices, tetrahedron().vertices)
    assert mesh.faces.dtype == np.int32
    assert rest == value[1]
    assert rest["kind"] is DepthKind.METRIC


def test_arrays_of_the_input_are_named_not_stored(tmp_path: Path) -> None:
    front, back = view("front", 0), view("back", 1)
    known = [front.rgb, front.mask, front.background, back.rgb, back.mask, back.background]
    checkpoints = Checkpoints(tmp_path, TYPES, known)
    arrays: dict[str, np.ndarray] = {}
    encode(ViewSet(views=(front, back)), arrays, known)
    assert not arrays
    # A mirrored view is not what the input holds, so it is stored; the untouched one is the very same array again.
    checkpoints.save("cameras", "key", ViewSet(views=(front, back.mirrored())))
    loaded = checkpoints.load("cameras", "key", ViewSet)
    assert loaded.views[0].rgb is front.rgb
    np.testing.assert_array_equal(loaded.views[1].rgb, back.rgb[:, ::-1])


@pytest.mark.parametrize("what", ["other key", "other type", "truncated", "missing", "unknown class"])
def test_what_does_not_fit_is_not_there(tmp_path: Path, what: str) -> None:
    checkpoints = Checkpoints(tmp_path, [] if what == "unknown class" else TYPES)
    checkpoints.save("shape", "key", tetrahedron())
    file = tmp_path / "shape.npz"
    if what == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    if what == "missing":
        file.unlink()
    key = "other" if what == "other key" else "key"
    assert checkpoints.load("shape", key, Camera if what == "other type" else Mesh) is None


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "shape.npz", __text__=np.array({"key": "key"}, object), allow_pickle=True)
    assert Checkpoints(tmp_path, TYPES).load("shape", "key", Mesh) is None


def test_unknown_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot hold a set"):
        Checkpoints(tmp_path, TYPES).save("shape", "key", {1, 2})


def test_a_disk_that_does_not_take_it_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="'shape' cannot be saved"):
        Checkpoints(tmp_path / "file", TYPES).save("shape", "key", 1)


def test_a_key_depends_on_all_before_it() -> None:
    first = chain_key("", "input")
    assert chain_key(first, "cameras", 1) == chain_key(first, "cameras", 1)
    keys = {first, chain_key(first, "cameras", 1), chain_key(first, "cameras", 2), chain_key("other", "cameras", 1)}
    assert len(keys) == 4


@dataclass(frozen=True)
class Point:
    x: float
    tag: tuple[str, ...]


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4) | st.integers(-9, 9), inner, max_size=3)
        | st.builds(Point, st.floats(allow_nan=False), st.lists(st.text(max_size=3), max_size=2).map(tuple))
    ),
    max_leaves=12,
)


@given(plain)
def test_encode_and_decode_are_inverse(value: object) -> None:
    arrays: dict[str, np.ndarray] = {}
    assert decode(encode(value, arrays), arrays, {"Point": Point}) == value
