"""A mesh whose views are known is judged from its files; the page and the JSON say what was found."""

from __future__ import annotations

import base64
import importlib
import importlib.util
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from meshwright.colour import from_srgb8, srgb_to_linear
from meshwright.errors import Cancelled, InputError, OptionError, ShapeError
from meshwright.export import export_result
from meshwright.quality import (
    JudgeConfig,
    QualityReport,
    QualityStatus,
    judge,
    write_previews,
    write_quality_json,
    write_report_html,
)
from meshwright.quality.camera_figure import camera_figure, hull_corners
from meshwright.quality.report import BOTH, INPUT_ONLY, MAGMA, MESH_ONLY, NEITHER, _outlines, heat
from meshwright.rendering import rasterize_mesh, render_textured
from meshwright.types import (
    VIEW_NAMES,
    Camera,
    DepthKind,
    DepthMap,
    MaskSource,
    Mesh,
    SilentMonitor,
    TexturedMesh,
    View,
    ViewSet,
)

trimesh = pytest.importorskip("trimesh")
SHARED = Path(__file__).resolve().parents[3] / "shared"

BACK = {"front": (0, 0, 1), "back": (0, 0, -1), "left": (1, 0, 0), "right": (-1, 0, 0), "top": (0, 1, 0)}


def six_cameras(size: int = 72) -> tuple[Camera, ...]:
    cameras = []
    for name in VIEW_NAMES:
        back = np.array(BACK.get(name, (0, -1, 0)), float)
        up = np.array([0, 1, 0]) if abs(back[1]) < 0.5 else np.array([0, 0, 1])
        pose = np.eye(4)
        pose[:3, :3] = np.stack([np.cross(up, back), up, back], 1)
        pose[:3, 3] = 2.5 * back
        focal = 0.5 * size / np.tan(np.radians(13))
        cameras.append(
            Camera(
                name=name,
                camera_to_world=pose,
                fl_x=focal,
                fl_y=focal,
                cx=size / 2,
                cy=size / 2,
                width=size,
                height=size,
            )
        )
    return tuple(cameras)


def painted_box() -> TexturedMesh:
    """A tapered box (no side is flat to a camera) with a smooth texture."""
    box = trimesh.creation.box((0.8, 0.6, 0.5))
    vertices = box.vertices.copy()
    for axis in range(3):
        vertices[:, axis] *= np.where(box.vertices[:, axis - 1] > 0, 0.8, 1)
    rng = np.random.default_rng(2)
    coarse = rng.random((5, 5, 3))
    grid = np.linspace(0, 3.99, 128)
    i, f = grid.astype(int), grid % 1
    rows = coarse[i] * (1 - f[:, None, None]) + coarse[i + 1] * f[:, None, None]
    texture = rows[:, i] * (1 - f[None, :, None]) + rows[:, i + 1] * f[None, :, None]
    uv = rng.uniform(0.05, 0.95, (8, 2)).astype(np.float32)
    faces = box.faces.astype(np.int32)
    return TexturedMesh(
        mesh=Mesh(vertices=vertices.astype(np.float32), faces=faces),
        uv=uv,
        uv_faces=faces,
        base_color_srgb=np.rint(texture * 255).astype(np.uint8),
    )


def views_of(textured: TexturedMesh, cameras: tuple[Camera, ...], *, photographs: bool = False) -> ViewSet:
    """Pictures of the mesh, with alpha or as photographs before a grey slope, and inverse depth."""
    views = []
    for camera in cameras:
        picture = render_textured(textured, camera, supersample=4)
        z = rasterize_mesh(textured.mesh, camera).z
        valid = np.isfinite(z)
        values = np.where(valid, 1.2 / np.where(valid, z, 1) - 0.1, 0).astype(np.float32)
        background = np.ones_like(picture.rgb)
        rgb, source = picture.rgb, MaskSource.ALPHA
        if photographs:
            slope = np.linspace(0.6, 0.9, camera.height, dtype=np.float32)[:, None, None]
            background = srgb_to_linear(np.broadcast_to(slope, picture.rgb.shape))
            rgb, source = srgb_to_linear(picture.over(np.broadcast_to(slope, picture.rgb.shape))), MaskSource.BACKGROUND
        views.append(
            View(
                name=camera.name, rgb=rgb, mask=picture.alpha, mask_source=source, background=background,
                depth=DepthMap(values=values, valid=valid, step=1 / 255, kind=DepthKind.AUTO),
            )
        )  # fmt: skip
    return ViewSet(views=tuple(views))


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ViewSet, QualityReport]:
    folder = tmp_path_factory.mktemp("judged")
    textured, cameras = painted_box(), six_cameras()
    files = export_result(textured, cameras, list(VIEW_NAMES), folder, size=0.4)
    views = views_of(textured, cameras)
    report = judge(
        folder, views, files.cameras, timings={"read": 1.5, "shape": 4.0}, model="hull", device_name="CPU, 2 cores",
        warnings=("Left & right may be <swapped>.",),
    )  # fmt: skip
    return folder, views, report


def test_a_perfect_result_is_found_to_be_one(judged: tuple[Path, ViewSet, QualityReport]) -> None:
    _, _, report = judged
    assert report.status is QualityStatus.NORMAL
    # The views have 16 samples a pixel, the judge 4: only outlines differ.
    assert report.mean["psnr"] > 30 and report.mean["ssim"] > 0.98 and report.mean["flip"] < 0.03
    assert report.mean["silhouette_iou"] > 0.97
    assert report.mean["depth_error"] < 1e-4
    assert all(view.depth is not None and view.depth.kind is DepthKind.INVERSE for view in report.views)
    assert report.mesh.watertight and report.mesh.faces == 12
    assert report.mesh.size == pytest.approx((0.4, 0.3, 0.25))
    assert report.texture_size == (128, 128)
    assert report.summary.startswith("The mesh looks like its views: PSNR ") and "\n" not in report.summary
    assert report.warnings == ("Left & right may be <swapped>.",)
    assert {"meshwright", "python", "numpy", "warp-lang"} <= set(report.versions)


def test_views_made_ready_beforehand_are_judged_as_the_others(
    judged: tuple[Path, ViewSet, QualityReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one core only the first view is made ready while the mesh is read."""
    folder, views, report = judged
    monkeypatch.setattr(importlib.import_module("meshwright.quality.judge"), "cpu_threads", lambda: 1)
    again = judge(folder, views, report.cameras)
    for one, other in zip(again.views, report.views, strict=True):
        assert (one.psnr, one.ssim, one.flip, one.psnr_white) == (other.psnr, other.ssim, other.flip, other.psnr_white)
        np.testing.assert_array_equal(one.reference, other.reference)
        np.testing.assert_array_equal(one.error, other.error)


def test_photographs_are_compared_as_they_are(tmp_path: Path) -> None:
    """Before a grey slope the whole frame still fits, and white outside the mask does not change that."""
    textured, cameras = painted_box(), six_cameras()
    export_result(textured, [], [], tmp_path)
    report = judge(tmp_path, views_of(textured, cameras, photographs=True), cameras, mesh_file="mesh.glb")
    assert report.mean["psnr"] > 35
    assert 28 < report.mean["psnr_white"] < report.mean["psnr"]
    np.testing.assert_allclose(report.views[0].render[0, 0], report.views[0].reference[0, 0], atol=1)
    assert report.views[0].render[0, 0].max() < 160


def test_agrees_with_the_independent_scoring_tool(judged: tuple[Path, ViewSet, QualityReport]) -> None:
    path = SHARED / "tools" / "score.py"
    if not path.exists():
        pytest.skip("the scoring tool is not beside the checkout (shared/tools/score.py)")
    spec = importlib.util.spec_from_file_location("score", path)
    assert spec is not None and spec.loader is not None
    score = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(score)
    folder, _, report = judged
    model = score.Model(str(folder / "mesh.glb"))
    cams = [
        {
            "name": camera.name, "c2w": camera.camera_to_world, "w": camera.width, "h": camera.height,
            "fx": camera.fl_x, "fy": camera.fl_y, "cx": camera.cx, "cy": camera.cy,
            "rgb": view.reference.astype(np.float32) / 255, "a": view.mask,
        }
        for camera, view in zip(report.cameras, report.views, strict=True)
    ]  # fmt: skip
    theirs, rows = score.image_metrics(model, cams)
    for name, other in (("psnr", "psnr"), ("ssim", "ssim"), ("flip", "flip"), ("silhouette_iou", "sil_iou")):
        assert report.mean[name] == pytest.approx(theirs[other], abs={"psnr": 0.1}.get(name, 0.002)), name
    assert report.views[3].psnr == pytest.approx(rows[3]["psnr"], abs=0.2)


@pytest.mark.parametrize(
    ("psnr", "ssim", "status"),
    [(25.0, 0.85, "normal"), (24.9, 0.99, "warning"), (40.0, 0.84, "warning"), (20.0, 0.75, "warning"),
     (19.9, 0.99, "failure"), (40.0, 0.74, "failure")],
)  # fmt: skip
def test_status_thresholds_are_those_of_the_contract(psnr: float, ssim: float, status: str) -> None:
    from meshwright.quality.judge import _status

    assert _status({"psnr": psnr, "ssim": ssim}, JudgeConfig()).value == status


def test_a_wrong_mesh_is_a_failure_that_says_why(tmp_path: Path) -> None:
    textured, cameras = painted_box(), six_cameras()
    views = views_of(textured, cameras)
    small = replace(textured.mesh, vertices=textured.mesh.vertices * np.float32(0.5), faces=textured.mesh.faces[1:])
    grey = np.full((4, 4, 3), 40, np.uint8)
    export_result(replace(textured, mesh=small, uv_faces=textured.uv_faces[1:], base_color_srgb=grey), [], [], tmp_path)
    report = judge(tmp_path, views, cameras)
    assert report.status is QualityStatus.FAILURE
    assert report.summary.startswith("The mesh does not look like its views")
    assert any("not closed: 3 edges" in warning for warning in report.warnings)
    assert any("overlap by less than 90 %: front (2" in warning for warning in report.warnings)


def test_json_has_the_documented_form(judged: tuple[Path, ViewSet, QualityReport], tmp_path: Path) -> None:
    _, _, report = judged
    report = replace(report, details={"rigs": np.array([0.5, np.nan]), "path": Path("x"), "ok": True, "none": None})
    text = write_quality_json(report, tmp_path / "quality.json").read_text()
    written = json.loads(text)
    assert list(written) == [
        "schema", "status", "summary", "warnings", "mean", "views", "mesh", "model", "checkpoint", "timings", "device",
        "versions", "details",
    ]  # fmt: skip
    assert set(written["mean"]) == {
        "psnr", "ssim", "flip", "psnr_white", "ssim_white", "silhouette_iou", "depth_error",
    }  # fmt: skip
    assert [view["name"] for view in written["views"]] == list(VIEW_NAMES)
    assert set(written["views"][0]["depth"]) == {"error", "median_error", "kind", "pixels"}
    assert written["mesh"]["texture_size"] == [128, 128] and written["mesh"]["watertight"] is True
    assert written["details"] == {"rigs": [0.5, None], "path": "x", "ok": True, "none": None}
    documented = (Path(__file__).resolve().parents[2] / "docs" / "quality.md").read_text()
    for name in [*written, *written["mean"], *written["views"][0], *written["views"][0]["depth"], *written["mesh"]]:
        assert f"`{name}`" in documented, name


def test_the_page_stands_alone(judged: tuple[Path, ViewSet, QualityReport], tmp_path: Path) -> None:
    folder, _, report = judged
    from meshwright.export import load_textured

    previews = write_previews(load_textured(folder / "mesh.obj"), report.cameras, tmp_path / "previews", size=64)
    names = sorted(path.name for path in (tmp_path / "previews").iterdir())
    assert names == sorted(
        [f"textured_{i:02d}.png" for i in range(6)]
        + [f"wireframe_{i:02d}.png" for i in range(6)]
        + [f"normals_{i:02d}.png" for i in range(6)]
        + [f"turntable_{i:02d}.png" for i in range(8)]
        + ["turntable.webp"]
    )
    page = write_report_html(report, tmp_path / "report.html", previews=previews, title="A <box>").read_text()
    assert len(page) < 5_000_000
    assert page.count("<img ") == 6 * 4 + 8
    assert not re.search(r"""(src|href)=["'](?!data:)""", page) and "url(" not in page and "http" not in page
    assert "A &lt;box&gt;" in page and "Left &amp; right may be &lt;swapped&gt;." in page
    assert "<svg" in page and ">front</text>" in page
    for shown in (
        "CPU, 2 cores",
        "hull",
        "128 \N{MULTIPLICATION SIGN} 128",
        "closed surface",
        "prefers-color-scheme: dark",
    ):
        assert shown in page, shown


def test_error_and_outlines_have_the_colours_of_the_legend(judged: tuple[Path, ViewSet, QualityReport]) -> None:
    np.testing.assert_array_equal(heat(np.array([[-1, 0, 0.2, 1, 2]], np.float32))[0], MAGMA[[0, 0, 1, 5, 5]])
    mask, coverage = np.array([[0, 0, 1, 1, 0.6]], np.float32), np.array([[0, 1, 0, 1, 0.4]], np.float32)
    uri = _outlines(replace(judged[2].views[0], mask=mask, coverage=coverage))
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        drawn = np.asarray(image.convert("RGB"))[0]
    np.testing.assert_array_equal(drawn, [NEITHER, MESH_ONLY, INPUT_ONLY, BOTH, INPUT_ONLY])


def test_many_views_make_a_short_page(judged: tuple[Path, ViewSet, QualityReport], tmp_path: Path) -> None:
    _, _, report = judged
    many = replace(
        report,
        views=tuple(replace(report.views[i % 6], name=f"r_{i:02d}", psnr=50.0 - i) for i in range(30)),
        cameras=tuple(replace(report.cameras[i % 6], name=f"r_{i:02d}") for i in range(30)),
    )
    page = write_report_html(many, tmp_path / "report.html").read_text()
    assert page.count("<img ") == 12 * 4
    assert "The 12 of 30 views that fit worst are shown." in page
    assert "<h3>r_29</h3>" in page and "<h3>r_17</h3>" not in page


def test_previews_show_the_views(judged: tuple[Path, ViewSet, QualityReport], tmp_path: Path) -> None:
    folder, _, report = judged
    from meshwright.export import load_textured

    mesh = load_textured(folder / "mesh.glb")
    files = write_previews(mesh, report.cameras, tmp_path, size=72)
    with Image.open(files.textured[4]) as picture:
        shown = np.asarray(picture).astype(int)
    assert np.abs(shown - report.views[4].render).max() <= 1
    with Image.open(files.animation) as walk:
        assert walk.format == "WEBP" and walk.n_frames == 36 and walk.size == (72, 72)
    only = write_previews(mesh, [replace(report.cameras[0], width=144, cx=72)] * 9, tmp_path / "wide", size=100)
    with Image.open(only.textured[0]) as picture:
        assert len(only.textured) == 6 and picture.size == (100, 50)
    assert write_previews(mesh, [], tmp_path / "none", size=32).textured == ()
    with pytest.raises(OptionError, match="0 pixels"):
        write_previews(mesh, [], tmp_path, size=0)


def test_faults_and_wishes(judged: tuple[Path, ViewSet, QualityReport], tmp_path: Path) -> None:
    folder, views, report = judged
    with pytest.raises(ShapeError, match="6 views and 5 cameras"):
        judge(folder, views, report.cameras[:5])
    with pytest.raises(InputError, match=r"no mesh file 'mesh\.obj'"):
        judge(tmp_path, views, report.cameras)
    with pytest.raises(OptionError, match="longest_side=2"):
        JudgeConfig(longest_side=2)

    class Listener(SilentMonitor):
        heard: ClassVar[list[float]] = []

        def report(self, percent: float, step: str) -> None:
            assert step.startswith("Comparing ")
            self.heard.append(percent)

    judge(folder, views, report.cameras, monitor=Listener())
    assert Listener.heard == sorted(Listener.heard) and len(Listener.heard) == 6 and Listener.heard[-1] == 100
    with pytest.raises(Cancelled):
        judge(folder, views, report.cameras, monitor=SilentMonitor(lambda: True))


def test_blank_views_are_judged_too(tmp_path: Path) -> None:
    """No object in the frame: the whole frame counts, whatever the mesh looks like."""
    textured, cameras = painted_box(), six_cameras(32)
    grey = np.broadcast_to(from_srgb8(np.uint8(128)), (32, 32, 3)).astype(np.float32)
    views = ViewSet(
        views=tuple(
            View(
                name=c.name, rgb=grey, mask=np.ones((32, 32), np.float32), mask_source=MaskSource.NONE, background=grey
            )
            for c in cameras
        )
    )
    export_result(textured, [], [], tmp_path)
    report = judge(tmp_path, views, cameras)
    assert report.mean["silhouette_iou"] < 0.9
    assert "depth_error" not in report.mean


def test_outline_of_flat_and_solid_things() -> None:
    box = painted_box().mesh.vertices
    assert len(hull_corners(box)) == 8
    flat = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    assert len(hull_corners(flat)) == 8
    drawing = camera_figure(six_cameras(), hull_corners(flat))
    assert drawing.count("<svg") == 2
    assert "top, bottom look along this direction" in drawing
