"""The differentiable ops against golden tensors, key by key; and each golden seen to refuse a spoiled result."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ops_goldens as goldens
from meshwright.rendering import ops

DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]

CASES = [(scene, key) for scene in goldens.EDGE_PIXELS for key in goldens.OUTPUTS]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("scene", "key"), CASES)
def test_agrees_with_golden(scene: str, key: str, device: str) -> None:
    assert not goldens.disagreement(scene, key, goldens.computed(scene, device))


@pytest.mark.parametrize(("scene", "key"), CASES)
def test_golden_refuses_a_spoiled_result(scene: str, key: str) -> None:
    """One number moved by twice what is allowed, one not a number, two channels swapped: all are noticed."""
    results = dict(goldens.computed(scene, "cpu"))
    golden = goldens.load(scene)[key]
    largest = np.abs(golden).max()
    step = 2e-3 * largest if key.rpartition(".")[2].startswith("d") else 2e-4
    if largest == 0:
        step = 1e-6  # no silhouettes among triangles smaller than a pixel: the golden gradient is exactly 0
    # The largest number: on an inner texel where only those are compared, and of a pixel whose triangle is the same.
    weight = np.abs(golden).astype(np.float64) + 1e-9
    if key == "tex.linear.zero.dtex":
        inner = np.zeros_like(weight)
        inner[:, 2:-2, 2:-2] = weight[:, 2:-2, 2:-2]
        weight = inner
    if key in ("rast", "rast_db"):
        weight[goldens.differing(scene, results["rast"])] = 0
        if key == "rast":
            weight[..., 3] = 0
    place = np.unravel_index(np.argmax(weight), weight.shape)
    for wrong in (results[key][place] + step, np.float32(np.nan)):
        spoiled = results[key].copy()
        spoiled[place] = wrong
        assert goldens.disagreement(scene, key, results | {key: spoiled})
    if largest > 0:
        order = np.arange(golden.shape[-1])
        order[[0, 1]] = order[[1, 0]]
        assert goldens.disagreement(scene, key, results | {key: results[key][..., order]})
    assert goldens.disagreement(scene, key, results | {key: results[key][..., :-1]})


@pytest.mark.parametrize("scene", goldens.EDGE_PIXELS)
def test_golden_refuses_other_triangles(scene: str) -> None:
    results = dict(goldens.computed(scene, "cpu"))
    spoiled = results["rast"].copy()
    spoiled[0, 10:20, 10:20, 3] += 1
    assert "another triangle" in goldens.disagreement(scene, "rast", results | {"rast": spoiled})


@pytest.mark.parametrize("scene", goldens.EDGE_PIXELS)
def test_every_key_is_compared(scene: str) -> None:
    inputs = {"pos", "tri", "resolution", "attr", "uv", "tex", "aa.in"}
    stored = {key for key in goldens.load(scene) if key not in inputs and not key.endswith("dout")}
    assert stored == set(goldens.OUTPUTS)


@pytest.mark.parametrize("scene", goldens.EDGE_PIXELS)
def test_ids_differ_on_edges_only(scene: str) -> None:
    """The golden's corners were rounded to sixteenths of a pixel, so an edge may be off by 1/16 in x and in y; or two
    surfaces cut through each other there."""
    golden = goldens.load(scene)
    ours = goldens.computed(scene, "cpu")["rast"]
    height, width = golden["resolution"]
    for view, row, column in np.argwhere(goldens.differing(scene, ours)):
        nearest, depths = np.inf, []
        point = np.array([(2 * column + 1) / width - 1, (2 * row + 1) / height - 1, 1.0])
        for name in {ours[view, row, column, 3], golden["rast"][view, row, column, 3]} - {0.0}:
            corners = golden["pos"][view][golden["tri"][int(name) - 1]].astype(np.float64)
            lines = np.cross(corners[[1, 2, 0]][:, [0, 1, 3]], corners[[2, 0, 1]][:, [0, 1, 3]])
            # In pixels: d / dx = 2 / width d / dX.
            distances = np.abs(lines @ point) / np.hypot(lines[:, 0] * 2 / width, lines[:, 1] * 2 / height)
            nearest = min(nearest, distances.min())
            depths.append((lines @ point) @ corners[:, 2] / ((lines @ point) @ corners[:, 3]))
        assert nearest < np.sqrt(2) / 16 or np.ptp(depths) < 1e-3, (view, row, column)


@pytest.mark.parametrize("scene", goldens.EDGE_PIXELS)
def test_texture_gradient_beyond_the_border(scene: str) -> None:
    """A look-up is linear in the texture, so <dout, out> = <dtex, tex>.

    Ours keeps that with boundary "zero"; the golden `tex.linear.zero.dtex` does not, which is why its outermost
    two rings of texels are not compared.
    """
    golden = goldens.load(scene)
    key = "tex.linear.zero"
    expected = np.sum(golden[f"{key}.dout"].astype(np.float64) * golden[key])
    ours = np.sum(goldens.computed(scene, "cpu")[f"{key}.dtex"].astype(np.float64) * golden["tex"])
    theirs = np.sum(golden[f"{key}.dtex"].astype(np.float64) * golden["tex"])
    assert abs(ours - expected) < 1e-5 * np.abs(golden[f"{key}.dout"]).sum() / 100
    assert abs(theirs - expected) > 0.1


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scene", goldens.EDGE_PIXELS)
def test_whole_chain_agrees_where_ids_do(scene: str, device: str) -> None:
    """From positions to texture look-ups with nothing of the golden in between."""
    golden = {key: torch.from_numpy(array).to(device) for key, array in goldens.load(scene).items()}
    tri, size = golden["tri"], tuple(golden["resolution"].tolist())
    rast, rast_db = ops.rasterize(golden["pos"], tri, size)
    uv, uv_da = ops.interpolate(golden["uv"], rast, tri, rast_db, "all")
    color = ops.texture(golden["tex"], uv, uv_da)
    same = ~goldens.differing(scene, rast.cpu().numpy())
    for found, key in ((uv, "uv_interp"), (uv_da, "uv_da"), (color, "tex.linear-mipmap-linear.wrap")):
        error = np.abs(found.cpu().numpy() - goldens.load(scene)[key])[same]
        assert error.max() <= 1e-4, key
