"""The recipe end to end on a small rendered object: outputs, resuming, stopping, and what is left when it fails."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import meshwright
from meshwright import pipeline
from meshwright.cameras import CameraSolution
from meshwright.colour import from_srgb8, to_srgb8
from meshwright.config import ReconstructConfig
from meshwright.errors import Cancelled, InputFilesError, OptionError, OutputError
from meshwright.geometry import ShapeResult
from meshwright.models import Appearance, Evidence
from meshwright.models.hull import HullModel
from meshwright.synth import SynthConfig, write_example
from meshwright.transforms import read_cameras
from meshwright.types import VIEW_NAMES, Camera, MaterialMaps, Mesh, Monitor, SilentMonitor, TexturedMesh, ViewSet

SMALL = {"model": "hull", "quality": "draft", "faces": 3000, "texture_size": 256, "rig": "default"}
"""Settings that run in a few seconds; naming the rig spares the search among 32."""


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six views of the toy car with alpha and relative depth, and nothing said about cameras."""
    folder = tmp_path_factory.mktemp("synth")
    write_example("toy_car", folder / "all", SynthConfig(size=160, depth=("linear8",), test_views=0, mesh_grid=32))
    (folder / "six").mkdir()
    (folder / "all" / "views").rename(folder / "six" / "views")
    (folder / "all" / "depth_linear8").rename(folder / "six" / "depth")
    return folder / "six"


class Recorder:
    """Remembers every report; stops once `stop_at` percent are reached."""

    def __init__(self, stop_at: float = 1000.0) -> None:
        self.reports: list[tuple[float, str]] = []
        self.stop_at = stop_at

    def report(self, percent: float, step: str) -> None:
        self.reports.append((percent, step))

    def check(self) -> None:
        if self.reports and self.reports[-1][0] >= self.stop_at:
            raise Cancelled("stop")


@pytest.fixture(scope="module")
def finished(six: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[pipeline.Result, Recorder]:
    monitor = Recorder()
    output = tmp_path_factory.mktemp("out") / "car"
    return meshwright.reconstruct(six, output, monitor=monitor, **{**SMALL, "rig": "auto"}), monitor


@pytest.mark.slow
def test_everything_of_the_contract_is_there(finished: tuple[pipeline.Result, Recorder]) -> None:
    result, _ = finished
    assert sorted(entry.name for entry in result.folder.iterdir()) == sorted(pipeline.OUTPUT_NAMES)
    previews = {entry.name for entry in (result.folder / "previews").iterdir()}
    wanted = {f"{kind}_{index:02d}.png" for kind in ("textured", "wireframe") for index in range(6)}
    assert wanted <= previews
    assert any(name.startswith("turntable_") for name in previews)
    assert {f"{name}.png" for name in ("front", "bottom")} <= {
        entry.name for entry in (result.folder / "masks").iterdir()
    }
    for path in (result.mesh_obj, result.mesh_ply, result.mesh_glb, result.texture, result.cameras, result.report_html):
        assert path.stat().st_size > 0
    assert not result.folder.with_name("car.partial").exists()


@pytest.mark.slow
def test_with_a_light_of_its_own_the_result_is_judged_lit(
    six: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for the fit: half the base colour under twice the light looks alike, but only lit."""

    def relight(self: HullModel, textured: TexturedMesh, *rest: object) -> Appearance:
        orm = np.broadcast_to(np.array([255, 255, 0], np.uint8), (8, 8, 3))
        material = MaterialMaps(orm=orm, light=np.full((32, 64, 3), 2.0, np.float32))
        half = to_srgb8(from_srgb8(textured.base_color_srgb) / 2)
        lit = replace(textured, base_color_srgb=half, material=material)
        return Appearance(textured=lit, report={"lighting": "pbr"}, warnings=("It is bright.",))

    monkeypatch.setattr(HullModel, "light_share", 5.0)
    monkeypatch.setattr(HullModel, "relight", relight)
    output = tmp_path / "car"
    result = meshwright.reconstruct(six, output, lighting="pbr", **SMALL)
    names = {entry.name for entry in output.iterdir()}
    maps = set(pipeline.MATERIAL_NAMES) - {"mesh_normal.png"}
    assert names == {*pipeline.OUTPUT_NAMES, *maps}
    document = json.loads(result.quality_json.read_text())
    assert document["details"]["light"] == {"lighting": "pbr"} and document["details"]["settings"]["lighting"] == "pbr"
    assert "It is bright." in result.warnings and document["timings"]["light"] > 0
    # Half as bright as the views it would be far below; what is mirrored at grazing angles costs some.
    assert result.quality.mean["psnr"] > 24
    # The next run without a light takes its files away: they would change how the mesh looks.
    meshwright.reconstruct(six, output, **SMALL)
    assert {entry.name for entry in output.iterdir()} == set(pipeline.OUTPUT_NAMES)


@pytest.mark.slow
def test_the_document_says_how_it_was_made(finished: tuple[pipeline.Result, Recorder]) -> None:
    result, _ = finished
    document = json.loads(result.quality_json.read_text())
    assert document["status"] == result.status
    assert document["model"] == "hull"
    assert document["details"]["model"] == {"refinement": "none"}
    assert document["details"]["settings"]["faces"] == 3000
    assert document["details"]["cameras"]["source"]
    assert set(document["timings"]) == {
        stage.name for stage in pipeline.stages(meshwright.AVAILABLE_MODELS["hull"])
    } - {"report"}
    assert document["mesh"]["faces"] <= 3000
    # The silhouettes decide what is 1; smoothing on this coarse grid shortens the mesh a little.
    assert max(document["mesh"]["size"]) == pytest.approx(1, rel=0.02)
    assert str(Path.home()) not in result.quality_json.read_text()


@pytest.mark.slow
def test_it_looks_like_its_views(finished: tuple[pipeline.Result, Recorder]) -> None:
    result, _ = finished
    assert result.quality.mean["psnr"] > 20
    assert result.quality.mean["silhouette_iou"] > 0.93


@pytest.mark.slow
def test_cameras_point_to_the_pictures(finished: tuple[pipeline.Result, Recorder]) -> None:
    result, _ = finished
    for file_path, camera in read_cameras(result.cameras):
        assert (result.folder / file_path).is_file()
        assert (camera.width, camera.height) == (160, 160)


@pytest.mark.slow
def test_progress_rises_through_every_stage_to_100(finished: tuple[pipeline.Result, Recorder]) -> None:
    _, monitor = finished
    percents = [percent for percent, _ in monitor.reports]
    assert percents[0] == 0
    assert percents[-1] == 100
    assert percents == sorted(percents)
    titles = {step for _, step in monitor.reports}
    assert {stage.title for stage in pipeline.stages(meshwright.AVAILABLE_MODELS["hull"]) if stage.share} <= titles


@pytest.mark.slow
def test_size_scales_mesh_and_cameras_together(
    six: Path, finished: tuple[pipeline.Result, Recorder], tmp_path: Path
) -> None:
    result, _ = finished
    metres = meshwright.reconstruct(six, tmp_path / "car", size=0.25, **SMALL)
    assert max(metres.quality.mesh.size) == pytest.approx(0.25, rel=0.02)
    for (_, small), (_, unit) in zip(read_cameras(metres.cameras), read_cameras(result.cameras), strict=True):
        np.testing.assert_allclose(small.position, unit.position * 0.25, atol=1e-6)
        assert small.fl_x == pytest.approx(unit.fl_x)
    assert json.loads(metres.quality_json.read_text())["details"]["settings"]["size"] == 0.25


@pytest.mark.slow
def test_given_cameras_keep_their_frame(tmp_path: Path) -> None:
    write_example("toy_car", tmp_path / "posed", SynthConfig(size=160, depth=(), test_views=0, mesh_grid=32))
    result = meshwright.reconstruct(tmp_path / "posed", tmp_path / "out", **SMALL)
    given = dict(read_cameras(tmp_path / "posed" / "transforms_train.json"))
    for _, camera in read_cameras(result.cameras):
        true = next(other for other in given.values() if other.name == camera.name)
        np.testing.assert_allclose(camera.camera_to_world, true.camera_to_world, atol=1e-9)


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_finished_stage(six: Path, tmp_path: Path) -> None:
    """A child is killed the hard way in the stage `texture`; the next run must not do the earlier stages again."""
    output = tmp_path / "car"
    program = (
        "import os, sys, meshwright\n"
        "from meshwright import pipeline\n"
        "pipeline.bake_texture = lambda *_, **__: os.kill(os.getpid(), 9)\n"
        f"meshwright.reconstruct({str(six)!r}, {str(output)!r}, **{SMALL!r})\n"
    )
    child = subprocess.run([sys.executable, "-c", program], timeout=240, check=False)
    assert child.returncode == -signal.SIGKILL
    left = {entry.name for entry in (tmp_path / "car.partial" / "checkpoints").iterdir()}
    assert {"cameras.npz", "shape.npz", "simplify.npz", "unwrap.npz"} <= left
    assert not output.exists()

    monitor = Recorder()
    result = meshwright.reconstruct(six, output, monitor=monitor, **SMALL)
    taken = [step.partition(":")[0] for _, step in monitor.reports if "taken from an earlier run" in step]
    assert taken == ["Finding the cameras", "Carving the shape", "Simplifying the mesh", "Laying out the texture"]
    assert result.timings["shape"] > 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["car"]


@pytest.mark.slow
def test_a_resumed_run_redoes_what_other_settings_touch(six: Path, tmp_path: Path) -> None:
    output = tmp_path / "car"
    program = (
        "import os, meshwright\n"
        "from meshwright import pipeline\n"
        "pipeline.bake_texture = lambda *_, **__: os.kill(os.getpid(), 9)\n"
        f"meshwright.reconstruct({str(six)!r}, {str(output)!r}, **{SMALL!r})\n"
    )
    subprocess.run([sys.executable, "-c", program], timeout=240, check=False)
    monitor = Recorder()
    result = meshwright.reconstruct(six, output, monitor=monitor, **{**SMALL, "faces": 1000})
    taken = [step for _, step in monitor.reports if "taken from an earlier run" in step]
    assert not any("Simplifying" in step or "Laying out" in step for step in taken)
    assert any("Carving" in step for step in taken)
    assert result.quality.mesh.faces <= 1000
    # And the folder, now an earlier result, is replaced by the next run without asking.
    assert meshwright.reconstruct(six, output, **{**SMALL, "faces": 500}).quality.mesh.faces <= 500


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [0.0, 80.0])
def test_a_wish_to_stop_leaves_nothing(six: Path, tmp_path: Path, stop_at: float) -> None:
    with pytest.raises(Cancelled):
        meshwright.reconstruct(six, tmp_path / "a" / "car", monitor=Recorder(stop_at), **SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.usefixtures("packed_checkpoint")
def test_ctrl_c_leaves_nothing_and_ends_with_130(six: Path, tmp_path: Path) -> None:
    # What a shell starts in the background ignores SIGINT, and so would this child of it.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{heed}; from meshwright.cli.app import main; main()"]
    arguments = ["reconstruct", str(six), "-o", str(tmp_path / "car"), "--json", "--rig", "default"]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if json.loads(line).get("stage") == "shape":
                break
        child.send_signal(signal.SIGINT)
        rest, errors = child.communicate(timeout=60)
    assert child.returncode == 130, errors
    assert json.loads(rest.splitlines()[-1])["code"] == "cancelled"
    assert errors == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.usefixtures("packed_checkpoint")
def test_inference_of_a_model_runs_it_all(six: Path, tmp_path: Path) -> None:
    model = meshwright.get_model("nvdiffrec", **SMALL)
    result = model.inference(six, tmp_path / "car")
    assert result["error"] is None
    assert Path(str(result["mesh_path"])).is_file()
    assert Path(str(result["texture_path"])).name == "mesh.png"
    document = json.loads((tmp_path / "car" / "quality.json").read_text())
    assert document["model"] == "nvdiffrec"
    assert document["details"]["model"]["refinement"] == "shape and texture"


@pytest.mark.slow
def test_views_without_an_object_complete_with_the_reason(tmp_path: Path) -> None:
    from PIL import Image

    for folder, mode, value in (("views", "RGB", (126, 126, 126)), ("depth", "L", 0)):
        (tmp_path / "grey" / folder).mkdir(parents=True)
        for name in VIEW_NAMES:
            Image.new(mode, (256, 256), value).save(tmp_path / "grey" / folder / f"{name}.png")
    result = meshwright.reconstruct(tmp_path / "grey", tmp_path / "out", **SMALL)
    assert any("Nothing in the frame could be told from the background" in warning for warning in result.warnings)
    assert result.mesh_glb.is_file()


@pytest.mark.slow
def test_three_views_are_enough_where_that_is_said(six: Path, tmp_path: Path) -> None:
    """Everything that a run leaves speaks of three views; without the option the same folder is refused."""
    (tmp_path / "three").mkdir()
    for name in ("front", "left", "top"):
        (tmp_path / "three" / f"{name}.png").write_bytes((six / "views" / f"{name}.png").read_bytes())
    with pytest.raises(InputFilesError, match="missing: back, right, bottom") as caught:
        meshwright.reconstruct(tmp_path / "three", tmp_path / "out", **SMALL)
    assert "--views front,left,top" in caught.value.hint
    result = meshwright.reconstruct(tmp_path / "three", tmp_path / "out", views="front,left,top", **SMALL)
    assert [Path(name).stem for name, _ in read_cameras(result.cameras)] == ["front", "left", "top"]
    document = json.loads(result.quality_json.read_text())
    assert document["details"]["settings"]["views"] == ["front", "left", "top"]
    assert [view["name"] for view in document["views"]] == ["front", "left", "top"]
    assert len(list((result.folder / "previews").glob("textured_*.png"))) == 3
    assert sorted(path.stem for path in (result.folder / "masks").glob("*.png")) == [
        "contact_sheet",
        "front",
        "left",
        "top",
    ]
    assert document["mesh"]["watertight"]
    assert document["mean"]["psnr"] > 20

    from typer.testing import CliRunner

    from meshwright.cli.app import app

    # Its own cameras say which views it is to be compared with.
    words = ["evaluate", result.mesh_glb, "--views", tmp_path / "three", "--cameras", result.cameras, "--json"]
    answer = CliRunner().invoke(app, [str(word) for word in words])
    assert answer.exit_code == 0
    scores = json.loads(answer.stdout.splitlines()[-1])["views"]
    assert [view["name"] for view in scores["views"]] == ["front", "left", "top"]


@pytest.mark.slow
def test_a_zip_gives_the_same_as_its_folder(
    six: Path, finished: tuple[pipeline.Result, Recorder], tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "six.zip", "w") as archive:
        for file in sorted(six.rglob("*.png")):
            archive.write(file, file.relative_to(six))
    result = meshwright.reconstruct(tmp_path / "six.zip", tmp_path / "out", **SMALL)
    assert (result.folder / "mesh.obj").read_bytes() == (finished[0].folder / "mesh.obj").read_bytes()
    assert next(file_path for file_path, _ in read_cameras(result.cameras)) == "views/front.png"


def test_bad_input_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "views").mkdir()
    (tmp_path / "views" / "front.png").write_bytes(b"no picture")
    with pytest.raises(InputFilesError):
        meshwright.reconstruct(tmp_path / "views", tmp_path / "out", **SMALL)
    assert [entry.name for entry in tmp_path.iterdir()] == ["views"]


@pytest.mark.parametrize("output", [".", "out", "deep/out"])
def test_the_output_must_not_lie_in_the_input(tmp_path: Path, output: str) -> None:
    (tmp_path / "views").mkdir()
    with pytest.raises(OptionError, match="lie inside each other"):
        meshwright.reconstruct(tmp_path / "views", tmp_path / "views" / output)


def test_an_output_must_not_replace_its_input(tmp_path: Path) -> None:
    (tmp_path / "out" / "previews").mkdir(parents=True)
    with pytest.raises(OptionError, match="lie inside each other"):
        meshwright.reconstruct(tmp_path / "out" / "previews", tmp_path / "out", overwrite=True)


def test_an_output_of_others_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "read", lambda *_, **__: pytest.fail("the views were read"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("")
    with pytest.raises(OutputError, match=r"thesis\.txt"):
        meshwright.reconstruct(tmp_path / "views", tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": "best"}, r"quality='best' is not known. Use one of draft, standard, high"),
        ({"model": "nerf"}, r"model='nerf' is not known"),
        ({"faces": 3}, r"faces=3 is not between"),
        ({"texture_size": 1}, r"texture_size=1 is not between"),
        ({"size": 0.0}, r"size=0.0 is not a length above 0"),
        ({"size": float("nan")}, r"size=nan is not a length above 0"),
        ({"depth_kind": "sonar"}, r"depth_kind='sonar' is not known"),
        ({"views": "front,back"}, r"views='front,back': these two face each other"),
        ({"views": ("front", "side")}, r"'side' is no view"),
        ({"device": "tpu"}, r"device='tpu' is not known"),
        ({"lighting": "noon"}, r"lighting='noon' is not known. Use one of baked, pbr"),
        ({"lighting": "pbr"}, r"reconviagen does not tell materials from light.*Use model nvdiffrec"),
        ({"colour": "red"}, r"There is no option 'colour'"),
        ({"generation": {"checkpoint": "huge", "seed": -1}}, r"checkpoint='huge' \(use .*\); seed=-1"),
        ({"generation": {"structure_steps": 0, "detail_guidance": 1e9}}, r"structure_steps=0 .*; detail_guidance="),
        ({"generation": {"colour": "red"}}, r"There is no option 'colour' of the networks"),
    ],
)
def test_options_are_checked_before_any_work(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        meshwright.reconstruct(tmp_path / "views", tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("frame", "size", "centre", "scale"),
    [
        ("free", None, 3.5, 0.5),
        ("free", 0.3, 3.5, 0.15),
        ("given", None, 0, 1),
        ("given", 4.0, 0, 2),
        ("rig", None, 0, 0.5),
    ],
)
def test_the_delivered_frame_moves_mesh_and_cameras_together(
    frame: str, size: float | None, centre: float, scale: float
) -> None:
    rng = np.random.default_rng(0)
    mesh = Mesh(vertices=rng.random((9, 3), np.float32) + 3, faces=np.arange(9, dtype=np.int32).reshape(3, 3))
    textured = TexturedMesh(
        mesh=mesh,
        uv=np.zeros((1, 2), np.float32),
        uv_faces=np.zeros((3, 3), np.int32),
        base_color_srgb=np.zeros((4, 4, 3), np.uint8),
    )
    pose = np.eye(4)
    pose[:3, 3] = (3, 4, 9)
    camera = Camera(name="a", camera_to_world=pose, fl_x=99, fl_y=99, cx=50, cy=50, width=100, height=100)
    solution = CameraSolution(views=ViewSet(views=()), cameras=(camera,), frame=frame, report={}, warnings=())
    extent = np.array([[2.5, 2.5, 2.5], [4.5, 4.5, 4.5]])
    shape = ShapeResult(mesh=mesh, extent=extent, longest=2.0, doubt=0.01, report={}, warnings=())
    moved, (moved_camera,) = pipeline.framed(textured, solution, shape, size)
    np.testing.assert_allclose(moved.mesh.vertices, scale * (mesh.vertices - centre), atol=1e-6)
    before, after = camera.project(mesh.vertices), moved_camera.project(moved.mesh.vertices)
    np.testing.assert_allclose(before[0], after[0], atol=1e-4)
    np.testing.assert_allclose(scale * before[1], after[1], atol=1e-5)


@pytest.mark.parametrize(
    ("frame", "longest", "slack", "scale"),
    [
        ("rig", 1.005, 0.0, 1.0),
        ("rig", 1.05, 0.0, 1 / 1.05),
        ("rig", 1.05, 0.1, 1.0),
        ("rig", 1.2, 0.1, 1 / 1.2),
        ("rig", 0.95, 0.1, 1 / 0.95),
        ("free", 1.05, 0.1, 1 / 1.05),
    ],
)
def test_the_unit_of_a_rig_stands_where_few_views_leave_room_for_it(
    frame: str, longest: float, slack: float, scale: float
) -> None:
    mesh = Mesh(vertices=np.eye(3, dtype=np.float32), faces=np.array([[0, 1, 2]], np.int32))
    textured = TexturedMesh(
        mesh=mesh,
        uv=np.zeros((1, 2), np.float32),
        uv_faces=np.zeros((1, 3), np.int32),
        base_color_srgb=np.zeros((4, 4, 3), np.uint8),
    )
    solution = CameraSolution(views=ViewSet(views=()), cameras=(), frame=frame, report={}, warnings=())
    extent = np.array([[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]])
    shape = ShapeResult(mesh=mesh, extent=extent, longest=longest, doubt=0.01, report={}, warnings=(), slack=slack)
    moved, _ = pipeline.framed(textured, solution, shape, None)
    np.testing.assert_allclose(moved.mesh.vertices, scale * mesh.vertices, rtol=1e-6)


def test_a_monitor_is_silent_by_default() -> None:
    monitor: Monitor = SilentMonitor()
    monitor.report(10, "step")
    monitor.check()


def test_a_model_may_start_from_another_one() -> None:
    names = [stage.name for stage in pipeline.stages(meshwright.AVAILABLE_MODELS["nvdiffrec"])]
    assert names[names.index("shape") :][:3] == ["shape", "start", "model"]
    assert "start" not in [stage.name for stage in pipeline.stages(meshwright.AVAILABLE_MODELS["hull"])]


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_started_from_is_loaded_and_let_go(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    calls = []

    class First:
        def load_weights(self) -> None:
            calls.append("load")

        def propose(self, evidence: Evidence, monitor: object) -> str:
            calls.append("propose")
            assert not evidence.delivered
            if fails:
                raise OptionError("no")
            return "a proposal"

        def cleanup(self) -> None:
            calls.append("cleanup")

    monkeypatch.setattr(pipeline, "get_model", lambda *_, **__: First())
    with pytest.raises(OptionError) if fails else contextlib.nullcontext():
        shape = Mesh(vertices=np.eye(3, dtype=np.float32), faces=np.array([[0, 1, 2]], np.int32))
        nothing = Evidence(views=ViewSet(views=()), cameras=(), shape=shape, device="cpu")
        assert pipeline._start("first", ReconstructConfig(), nothing, "cpu", SilentMonitor()) == "a proposal"
    assert calls == ["load", "propose", "cleanup"]
