"""From views to a surface with the checkpoint that comes with meshwright."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from safetensors.numpy import save_file

from meshwright.errors import InputError, OptionError, WeightsNotInstalledError
from meshwright.models import Evidence, get_model
from meshwright.models.base import Proposal
from meshwright.models.reconviagen.crops import SLOTS, Frame, look_straight, shown, slots_of
from meshwright.models.reconviagen.lifting import Prior
from meshwright.models.reconviagen.model import ReconviagenModel
from meshwright.models.reconviagen.network import NetConfig
from meshwright.models.reconviagen.shape import PriorConfig, prior_shape
from meshwright.models.reconviagen.weights import Checkpoint, load_checkpoint, packaged
from meshwright.models.refinement.config import BELIEVED, BRIEF, RefineConfig
from meshwright.synth.rig import look_at_origin
from meshwright.types import VIEW_NAMES, Array, Camera, MaskSource, Mesh, SilentMonitor, View, ViewSet

MIDDLE, RADIUS, SIZE = np.array([0.3, -0.2, 0.1]), 0.8, 128
FRAME = Frame(centre=MIDDLE, size=2 * RADIUS)


def ball_view(camera: Camera) -> View:
    """A grey ball around MIDDLE, its outline worked out ray by ray, four by four in a pixel."""
    line = (np.arange(4 * camera.width) + 0.5) / 4
    pixels = np.stack(np.meshgrid(line, line), -1)
    rays = camera.unproject(pixels, np.ones(pixels.shape[:2])) - camera.position
    to = MIDDLE - camera.position
    along = rays @ to / (rays * rays).sum(-1)
    hit = np.linalg.norm(along[..., None] * rays - to, axis=-1) < RADIUS
    mask = hit.reshape(camera.height, 4, camera.width, 4).mean((1, 3)).astype(np.float32)
    grey = np.full((camera.height, camera.width, 3), 0.25, np.float32)
    return View(name=camera.name, rgb=grey, mask=mask, mask_source=MaskSource.ALPHA, background=np.ones_like(grey))


def scene(names: tuple[str, ...] = VIEW_NAMES) -> tuple[tuple[View, ...], tuple[Camera, ...]]:
    """Cameras aimed at the world's origin, beside the ball's middle, the object being larger than 1."""
    cameras = tuple(
        look_at_origin(name, 5.0 * np.array(stand, float), np.array(up, float), SIZE)
        for name, (stand, up) in zip(VIEW_NAMES, SLOTS, strict=True)
        if name in names
    )
    return tuple(ball_view(camera) for camera in cameras), cameras


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint that has learned nothing: it says what the outlines say."""
    config = NetConfig(view=8, coarse=(8, 16), fine=8)
    path = tmp_path_factory.mktemp("untrained") / "mini.safetensors"
    about = {"family": "mini", "config": json.dumps(asdict(config)), "grid": "64", "data_version": "0", "objects": "0"}
    save_file({k: v.numpy() for k, v in Prior(config, grid=64).state_dict().items()}, path, metadata=about)
    return path


def test_the_checkpoint_says_what_it_is(packed_checkpoint: Checkpoint) -> None:
    assert packed_checkpoint.family == "mini"
    assert {"seed", "data_version", "objects", "seconds"} <= set(packed_checkpoint.about)
    folder = packaged().parent
    assert sum(file.stat().st_size for file in folder.iterdir()) < 32e6
    assert (folder / "mini.json").is_file()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_broken_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mini.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsNotInstalledError, match="does not hold the networks"):
        load_checkpoint(path, "cpu")


def test_a_checkpoint_of_other_networks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mini.safetensors"
    metadata = {"config": '{"coarse": [8, 16]}', "grid": "128"}
    save_file({"x": np.zeros(3, np.float32)}, path, metadata=metadata)
    with pytest.raises(WeightsNotInstalledError, match="weights do not fit"):
        load_checkpoint(path, "cpu")


def test_a_checkpoint_that_says_nothing_of_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mini.safetensors"
    save_file({"x": np.zeros(3, np.float32)}, path)
    with pytest.raises(WeightsNotInstalledError, match="no configuration"):
        load_checkpoint(path, "cpu")


@pytest.mark.parametrize("decided", [True, False])
def test_networks_are_loaded_only_where_depth_does_not_decide(monkeypatch: pytest.MonkeyPatch, decided: bool) -> None:
    """And a device on which nothing was done is left alone afterwards."""
    calls: list[str] = []

    def load(path: Path, device: str) -> Checkpoint:
        calls.append("load")
        raise OptionError("that will do")

    monkeypatch.setattr("meshwright.models.reconviagen.model.load_checkpoint", load)
    monkeypatch.setattr("meshwright.models.base.cleanup_gpu_memory", lambda: calls.append("clean"))
    views, cameras = scene()
    mesh = Mesh(vertices=np.eye(3, dtype=np.float32), faces=np.array([[0, 1, 2]], np.int32))
    evidence = Evidence(
        views=ViewSet(views=views),
        cameras=cameras,
        shape=mesh,
        device="cpu",
        doubt=0.0005 if decided else 0.01,
        delivered=False,
    )
    model = get_model("reconviagen", device="cpu")
    model.load_weights()
    assert calls == []
    if decided:
        assert model.propose(evidence, SilentMonitor()).mesh is mesh
    else:
        with pytest.raises(OptionError, match="that will do"):
            model.propose(evidence, SilentMonitor())
    model.cleanup()
    assert calls == ([] if decided else ["load", "clean"])


def test_crops_look_straight_at_the_object() -> None:
    views, cameras = scene()
    seen = shown(views, cameras, FRAME)
    assert bool((seen.present == 1).all())
    for mask in seen.mask[0]:
        rows, columns = np.nonzero(mask.numpy() > 0.5)
        # In the middle to half a pixel, although the cameras look past the object.
        assert rows.mean() == pytest.approx(127.5, abs=0.5)
        assert columns.mean() == pytest.approx(127.5, abs=0.5)
    # The object's size is 1 here: a ball of radius 0.5 at its distance.
    distance = float(np.linalg.norm(cameras[0].position - MIDDLE)) / FRAME.size
    radius = 0.5 / np.sqrt(distance**2 - 0.25) * (distance - 0.6) / 0.62 * 128
    assert float(seen.mask[0, 0].sum()) == pytest.approx(np.pi * radius**2, rel=0.01)
    assert float(seen.picture[0, 0, 1, 64, 64]) == pytest.approx(0.5, abs=1e-3)  # square root of 0.25


def test_depth_comes_along_relative_to_the_middle() -> None:
    views, cameras = scene()
    distance = float(np.dot(MIDDLE - cameras[0].position, cameras[0].forward))
    flat = np.full((SIZE, SIZE), distance, np.float32)
    picture = shown(views, cameras, FRAME, {0: flat}).picture[0, 0]
    assert float(picture[5, 64, 64]) == 1.0
    # A plane through the middle; the crop looks 4 degrees past the camera's own axis.
    assert float(picture[4, 64, 64]) == pytest.approx(0.0, abs=2e-3)
    assert float(picture[4:, 0, 0].abs().sum()) == 0.0


def test_views_find_their_slots_whatever_their_order() -> None:
    _, cameras = scene()
    assert slots_of(cameras[::-1], FRAME) == {5 - i: i for i in range(6)}
    askew = look_at_origin("x", np.array([3.0, 3.0, 3.0]), np.array([0.0, 1.0, 0.0]), 64)
    assert slots_of([askew], Frame(centre=np.zeros(3), size=1.0)) == {}


def fitted(mesh: Mesh) -> tuple[float, float]:
    """Mean and largest distance of the vertices from the ball."""
    away: Array = np.linalg.norm(mesh.vertices - MIDDLE, axis=1) - RADIUS
    return float(np.abs(away).mean()), float(np.abs(away).max())


@pytest.mark.parametrize(("names", "most"), [(VIEW_NAMES, 0.012), (("front", "left", "top"), 0.02)])
def test_a_ball_comes_out_round(packed_checkpoint: Checkpoint, names: tuple[str, ...], most: float) -> None:
    views, cameras = scene(names)
    config = PriorConfig(grid=64, image_size=128)
    mesh, report = prior_shape(views, cameras, packed_checkpoint, SilentMonitor(), "cpu", config)
    assert report["views_shown"] == len(names)
    mean, largest = fitted(mesh)
    # Measured: 0.009 and 0.015 of the longest side.
    assert mean < most * 2 * RADIUS
    assert largest < 5 * most * 2 * RADIUS


def test_views_from_all_around_are_told_from_views_of_the_sides() -> None:
    _, cameras = scene()
    assert look_straight(cameras)
    assert look_straight([cameras[i] for i in (0, 2, 4)])
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    around = [
        look_at_origin(f"r_{n}", 5.0 * np.array([np.sin(a), 0.3, np.cos(a)]), np.array([0.0, 1, 0]), SIZE)
        for n, a in enumerate(angles)
    ]
    assert not look_straight(around)
    assert look_straight(around[::6])


def test_what_has_learned_nothing_gives_the_hull(untrained: Path) -> None:
    views, cameras = scene()
    config = PriorConfig(grid=64, image_size=128)
    mesh, report = prior_shape(views, cameras, load_checkpoint(untrained, "cpu"), SilentMonitor(), "cpu", config)
    assert report["views_shown"] == 6
    mean, largest = fitted(mesh)
    # Six cones around a ball: they meet at most at sqrt(2) radii.
    assert mean < 0.1 * RADIUS
    assert largest < 0.45 * RADIUS


def test_nothing_inside_all_outlines_is_an_error(untrained: Path) -> None:
    views, cameras = scene()
    half = np.zeros_like(views[0].mask)
    half[:4, :4] = 1
    odd = View(
        name="front",
        rgb=views[0].rgb,
        mask=half,
        mask_source=MaskSource.ALPHA,
        background=views[0].background,
    )
    with pytest.raises(InputError, match="inside all silhouettes"):
        nothing = load_checkpoint(untrained, "cpu")
        prior_shape((odd, *views[1:]), cameras, nothing, SilentMonitor(), "cpu", PriorConfig(grid=64))


def decided(mesh: Mesh, **changes: object) -> Evidence:
    views, cameras = scene()
    found = Evidence(views=ViewSet(views=views), cameras=cameras, shape=mesh, device="cpu", doubt=0.002)
    return replace(found, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [{"effort": "draft"}, {"delivered": False}])
def test_depth_that_decided_stands(
    changes: dict[str, object], untrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReconviagenModel, "checkpoint_path", untrained)
    mesh = Mesh(vertices=np.eye(3, dtype=np.float32), faces=np.array([[0, 1, 2]], np.int32))
    proposal = get_model("reconviagen").propose(decided(mesh, **changes), SilentMonitor())
    assert proposal.mesh is mesh
    assert proposal.report["checkpoint"] == "mini"
    assert proposal.report["refinement"] == "none"
    assert "depth decides" in str(proposal.report["proposal"])


def test_what_is_delivered_is_brought_onto_the_pictures(untrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReconviagenModel, "checkpoint_path", untrained)
    ball = trimesh.creation.icosphere(4, RADIUS)
    shift = np.array([0.03, 0.0, 0.0]) * RADIUS
    mesh = Mesh(vertices=(ball.vertices + MIDDLE + shift).astype(np.float32), faces=ball.faces.astype(np.int32))
    proposal = get_model("reconviagen").propose(decided(mesh, doubt=0.009, free_cameras=False), SilentMonitor())
    assert proposal.report["refinement"] == "shape and texture"
    assert fitted(proposal.mesh)[0] < 0.5 * fitted(mesh)[0]
    assert np.array_equal(proposal.mesh.faces, mesh.faces)


@pytest.mark.parametrize(("doubt", "effort"), [(0.009, BRIEF), (0.01, BELIEVED)])
def test_what_networks_believe_is_refined_for_longer_and_warnings_are_heard(
    doubt: float, effort: RefineConfig, untrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReconviagenModel, "checkpoint_path", untrained)
    ball = trimesh.creation.icosphere(3, RADIUS)
    mesh = Mesh(vertices=(ball.vertices + MIDDLE).astype(np.float32), faces=ball.faces.astype(np.int32))
    asked: list[RefineConfig] = []

    def refined(evidence: Evidence, config: RefineConfig, _: object) -> Proposal:
        asked.append(config)
        return Proposal(mesh=evidence.shape, report={"refinement": "stand-in"}, warnings=("Memory was full.",))

    monkeypatch.setattr("meshwright.models.refinement.proposal.refined", refined)
    proposal = get_model("reconviagen").propose(decided(mesh, doubt=doubt), SilentMonitor())
    assert asked == [effort]
    assert proposal.warnings == ("Memory was full.",)
    assert BELIEVED.levels[0].steps > BRIEF.levels[0].steps
