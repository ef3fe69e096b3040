"""Metrics on cases with a known answer, and mesh distances against the independent scoring tool."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import ndimage

import meshwright.quality.metrics
from meshwright.errors import ShapeError
from meshwright.quality import compare_meshes, mesh_facts
from meshwright.quality.comparison import area_resize, working_size
from meshwright.quality.flip import look_at
from meshwright.quality.geometry import sample_surface
from meshwright.quality.metrics import depth_error, flip, psnr, silhouette_iou, ssim
from meshwright.types import DepthKind, Mesh

trimesh = pytest.importorskip("trimesh")
SHARED = Path(__file__).resolve().parents[3] / "shared"


def scoring_tool() -> ModuleType:
    path = SHARED / "tools" / "score.py"
    if not path.exists():
        pytest.skip("the scoring tool is not beside the checkout (shared/tools/score.py)")
    spec = importlib.util.spec_from_file_location("score", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def record(shape: object) -> Mesh:
    return Mesh(
        vertices=np.asarray(shape.vertices, np.float32),  # type: ignore[attr-defined]
        faces=np.asarray(shape.faces, np.int32),  # type: ignore[attr-defined]
    )


def test_psnr_of_a_known_difference() -> None:
    reference = np.full((20, 30, 3), 0.5, np.float32)
    assert psnr(reference, reference + np.float32(0.1)) == pytest.approx(20, abs=1e-4)
    assert psnr(reference, reference) == pytest.approx(100)
    half = reference.copy()
    half[:10] += 0.1
    assert psnr(reference, half) == pytest.approx(20 + 10 * np.log10(2), abs=1e-4)


def test_ssim_and_flip_order_pictures_as_people_do() -> None:
    rng = np.random.default_rng(0)
    reference = area_resize(rng.random((8, 8, 3)).astype(np.float32), 64, 64)
    slight = np.clip(reference + rng.normal(0, 0.02, reference.shape), 0, 1).astype(np.float32)
    strong = np.clip(reference + rng.normal(0, 0.2, reference.shape), 0, 1).astype(np.float32)
    assert ssim(reference, reference) == pytest.approx(1)
    assert 1 > ssim(reference, slight) > ssim(reference, strong) > 0
    assert flip(reference, reference)[0] == 0
    small, large = flip(reference, slight), flip(reference, strong)
    assert 0 < small[0] < large[0] < 1
    assert large[1].shape == (64, 64)
    assert large[1].mean() == pytest.approx(large[0], abs=1e-4)
    # White against black is the largest difference there is.
    white = np.ones((32, 32, 3), np.float32)
    assert flip(white, np.zeros_like(white))[0] > 0.9
    assert ssim(np.zeros((4, 5, 3), np.float32), np.zeros((4, 5, 3), np.float32)) == pytest.approx(1)


@pytest.mark.parametrize("sigma", [0.0, 3.0])
@pytest.mark.parametrize("shape", [(96, 80), (5, 4)])
def test_flip_is_that_of_nvidia(sigma: float, shape: tuple[int, int]) -> None:
    flip_evaluator = pytest.importorskip("flip_evaluator")
    rng = np.random.default_rng(3)

    def picture() -> np.ndarray:
        noise = ndimage.gaussian_filter(rng.random((*shape, 3)), (sigma, sigma, 0))
        return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)

    one, other = picture(), picture()
    for a, b in ((one, other), (one, np.clip(one + 0.02 * other, 0, 1)), (one, 0 * one), (one, one)):
        expected, mean, _ = flip_evaluator.evaluate(a, b.astype(np.float32), "LDR", applyMagma=False)
        found = flip(a, b.astype(np.float32))
        # Both count in float32; its cube roots and powers take a few codes of 2**-23 from each other.
        np.testing.assert_allclose(found[1], np.asarray(expected)[..., 0], atol=5e-5)
        assert found[0] == pytest.approx(mean, abs=5e-5)


def test_silhouette_overlap() -> None:
    a = np.zeros((10, 10), np.float32)
    b = a.copy()
    a[:, :6], b[:, 3:9] = 1, 1
    assert silhouette_iou(a, b) == pytest.approx(3 / 9)
    assert silhouette_iou(a * 0.49, b * 0) == 1
    with pytest.raises(ShapeError, match="cannot be compared"):
        silhouette_iou(a, b[1:])


@pytest.mark.parametrize(
    ("kind", "encode"),
    [
        (DepthKind.LINEAR, lambda z: 0.3 * z - 0.2),
        (DepthKind.LINEAR, lambda z: 2.0 - 0.7 * z),
        (DepthKind.INVERSE, lambda z: 1.5 / z - 0.1),
    ],
)
def test_depth_error_takes_out_scale_and_shift(kind: DepthKind, encode: object) -> None:
    """A slope from 2 to 3: the right reading leaves nothing, a step of 0.05 on a tenth of it leaves 0.005."""
    z = np.broadcast_to(np.linspace(2, 3, 50), (40, 50)).copy()
    values = encode(z)  # type: ignore[operator]
    valid = np.ones_like(z, bool)
    for asked in (DepthKind.AUTO, kind):
        exact = depth_error(values, valid, z, asked)
        assert exact is not None and exact.kind is kind
        assert exact.mean < 1e-9
        assert exact.pixels == z.size
    moved = z.copy()
    moved[:4] += 0.05
    stepped = depth_error(values, valid, moved, kind)
    assert stepped is not None
    assert stepped.mean == pytest.approx(0.005, rel=0.02)
    assert stepped.median < 1e-4


def test_depth_error_needs_something_to_compare() -> None:
    z = np.full((10, 10), np.inf)
    z[:2] = np.linspace(2, 3, 20).reshape(2, 10)
    values = z.copy()
    assert depth_error(values, z < 2.5, z) is None  # 10 pixels
    assert depth_error(np.ones_like(z), np.ones_like(z, bool), z) is None  # flat
    metric = depth_error(values, np.isfinite(z), z, DepthKind.METRIC)
    assert metric is not None and metric.kind is DepthKind.LINEAR


def test_area_resize_is_the_mean() -> None:
    image = np.random.default_rng(0).random((12, 18, 2)).astype(np.float32)
    np.testing.assert_allclose(area_resize(image, 6, 4), image.reshape(4, 3, 6, 3, 2).mean((1, 3)), atol=1e-6)
    assert area_resize(image, 7, 5).mean() == pytest.approx(image.mean(), abs=1e-6)
    assert working_size(2048, 1024, 512) == (512, 256)
    assert working_size(300, 200, 512) == (300, 200)


def test_mesh_facts_of_known_solids() -> None:
    box = record(trimesh.creation.box((1, 2, 3)))
    facts = mesh_facts(box)
    assert (facts.vertices, facts.faces, facts.components, facts.watertight) == (8, 12, 1, True)
    assert facts.area == pytest.approx(22) and facts.volume == pytest.approx(6)
    assert facts.size == pytest.approx((1, 2, 3))
    # Split vertices, as files have them, are still one surface.
    split = Mesh(vertices=box.vertices[box.faces].reshape(-1, 3), faces=np.arange(36, dtype=np.int32).reshape(-1, 3))
    assert mesh_facts(split) == facts
    opened = mesh_facts(Mesh(vertices=box.vertices, faces=box.faces[1:]))
    assert not opened.watertight and opened.open_edges == 3 and opened.volume is None
    turned = box.faces.copy()
    turned[0] = turned[0, ::-1]
    assert not mesh_facts(Mesh(vertices=box.vertices, faces=turned)).watertight
    far = np.concatenate([box.vertices, box.vertices + np.float32(9)])
    two = mesh_facts(Mesh(vertices=far, faces=np.concatenate([box.faces, box.faces + 8])))
    assert two.components == 2 and two.watertight and two.volume == pytest.approx(12)
    crowded = Mesh(
        vertices=box.vertices, faces=np.concatenate([box.faces, box.faces[:1], [[0, 0, 1]]]).astype(np.int32)
    )
    assert mesh_facts(crowded).crowded_edges >= 3
    assert mesh_facts(crowded).degenerate_faces == 1
    with pytest.raises(ShapeError, match="without faces"):
        mesh_facts(Mesh(vertices=box.vertices, faces=box.faces[:0]))


def test_samples_lie_on_the_surface_and_spread_evenly() -> None:
    box = record(trimesh.creation.box((1, 2, 3)))
    points, normals = sample_surface(box, 40_000, 3)
    again, _ = sample_surface(box, 40_000, 3)
    np.testing.assert_array_equal(points, again)
    half = np.array([0.5, 1.0, 1.5])
    on_face = np.isclose(np.abs(points), half, atol=1e-6)
    assert on_face.any(1).all()
    assert (points * normals > 0.49).any(1).all()  # outward
    share = [(np.abs(normals[:, axis]) > 0.5).mean() for axis in range(3)]
    np.testing.assert_allclose(share, [12 / 22, 6 / 22, 4 / 22], atol=0.01)
    with pytest.raises(ShapeError, match="without area"):
        sample_surface(Mesh(vertices=np.zeros((3, 3), np.float32), faces=np.array([[0, 1, 2]], np.int32)), 10, 0)


def test_distance_between_concentric_spheres() -> None:
    inner, outer = record(trimesh.creation.icosphere(4, 0.4)), record(trimesh.creation.icosphere(4, 0.415))
    found = compare_meshes(inner, outer, samples=20_000)
    assert found == compare_meshes(inner, outer, samples=20_000)
    # 0.015 apart; nearest samples are a little farther than the surface.
    assert 0.0148 < found["chamfer_l1"] < 0.0165
    assert found["fscore_0.01"] == 0
    assert found["fscore_0.02"] > 0.99
    assert found["normal_consistency"] > 0.999


def test_agrees_with_the_independent_scoring_tool() -> None:
    score = scoring_tool()
    rng = np.random.default_rng(4)
    truth = trimesh.creation.icosphere(4, 0.45)
    bumpy = truth.copy()
    bumpy.vertices = truth.vertices * (1 + 0.03 * rng.standard_normal((len(truth.vertices), 1)))
    theirs = score.geometry_metrics(bumpy, truth, n=30_000)
    ours = compare_meshes(record(bumpy), record(truth), samples=30_000)
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, rel=0.02, abs=0.003), name


@pytest.mark.parametrize("band", [1, 500, 1 << 16])
@pytest.mark.parametrize("shape", [(3, 9), (4, 4), (9, 5), (7, 7), (30, 41), (41, 30)])
def test_ssim_is_that_of_scikit_image(shape: tuple[int, int], band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both work in float32; where both pictures are flat, what is left of their variances decides."""
    from skimage.metrics import structural_similarity

    monkeypatch.setattr(meshwright.quality.metrics, "SSIM_BAND", band)
    rng = np.random.default_rng(5)
    reference = rng.random((*shape, 3)).astype(np.float32)
    reference[: shape[0] // 2] = 0.9
    image = (reference + rng.normal(0, 0.1, reference.shape)).clip(0, 1).astype(np.float32)
    image[: shape[0] // 3] = 0.8
    window = min(7, min(shape) - 1 + min(shape) % 2)
    expected = structural_similarity(reference, image, channel_axis=2, data_range=1.0, win_size=window)
    assert ssim(reference, image) == pytest.approx(float(expected), abs=1e-5)
    assert ssim(image, image) == pytest.approx(1, abs=1e-6)


def test_a_look_taken_before_changes_nothing() -> None:
    rng = np.random.default_rng(6)
    reference, image = rng.random((2, 20, 30, 3)).astype(np.float32)
    mean, error = flip(reference, image)
    again, same = flip(reference, image, look=look_at(reference))
    assert again == mean
    np.testing.assert_array_equal(same, error)
