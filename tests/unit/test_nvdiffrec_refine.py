"""Refinement as a whole: wrong shapes and cameras become better ones, and what is right stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from meshwright.errors import Cancelled
from meshwright.geometry import AtlasConfig, unwrap
from meshwright.models import Evidence, get_model
from meshwright.models.nvdiffrec.config import Level, RefineConfig
from meshwright.models.nvdiffrec.refine import Refinement, refine
from meshwright.rendering import rasterize_mesh
from meshwright.types import Camera, Mesh, SilentMonitor, TexturedMesh, View, ViewSet
from scenes import Ellipsoid, six, views_of

SIZE = 96
AXES = (0.3, 0.4, 0.5)
CAMERAS = six(SIZE)
VIEWS = views_of((Ellipsoid((0.0, 0.0, 0.0), AXES),), CAMERAS).views
CONFIG = RefineConfig(
    levels=(
        Level(pixels=48, cell=0.3, steps=25, move=0.004, turn=0.002),
        Level(pixels=96, cell=0.2, steps=25, move=0.002, turn=0.001),
    ),
    texture_size=256,
)


def egg(scale: tuple[float, float, float]) -> Mesh:
    ball = trimesh.creation.icosphere(subdivisions=3)
    return Mesh(vertices=(ball.vertices * np.array(AXES) * scale).astype(np.float32), faces=ball.faces.astype(np.int32))


def grey(mesh: Mesh) -> TexturedMesh:
    atlas = unwrap(mesh, AtlasConfig(texture_size=256))
    picture = np.full((256, 256, 3), 128, np.uint8)
    return TexturedMesh(mesh=mesh, uv=atlas.uv, uv_faces=atlas.uv_faces, base_color_srgb=picture)


def refined(mesh: Mesh, cameras: tuple[Camera, ...], *, doubt: float = 0.1, free: bool = True) -> Refinement:
    return refine(
        grey(mesh),
        mesh.vertices,
        VIEWS,
        cameras,
        doubt=doubt,
        free_cameras=free,
        config=CONFIG,
        monitor=SilentMonitor(),
        device="cpu",
    )


def outline_error(mesh: Mesh, cameras: tuple[Camera, ...], views: tuple[View, ...] = VIEWS) -> float:
    """Mean share of the pixels covered in one of mesh and mask only."""
    return float(
        np.mean(
            [(rasterize_mesh(mesh, c).covered != (v.mask > 0.5)).mean() for c, v in zip(cameras, views, strict=True)]
        )
    )


def test_a_wrong_shape_is_bent_into_its_outlines() -> None:
    wrong = egg((1.06, 0.95, 1.0))
    found = refined(wrong, CAMERAS, free=False)
    after = found.moved(wrong)
    assert outline_error(after, CAMERAS) < 0.35 * outline_error(wrong, CAMERAS)
    for before, camera in zip(CAMERAS, found.cameras, strict=True):
        np.testing.assert_allclose(camera.camera_to_world, before.camera_to_world, atol=1e-6)


def test_cameras_that_are_off_come_back() -> None:
    true = egg((1.0, 1.0, 1.0))
    off = (replace(CAMERAS[0], cx=CAMERAS[0].cx + 1.5, cy=CAMERAS[0].cy - 1.0), *CAMERAS[1:])
    found = refined(true, off, doubt=0.002)
    assert outline_error(found.moved(true), found.cameras) < 0.5 * outline_error(true, off)
    assert abs(found.cameras[0].cx - CAMERAS[0].cx) < 0.8


def test_little_doubt_holds_the_surface() -> None:
    wrong = egg((1.06, 0.95, 1.0))
    free, held = (refined(wrong, CAMERAS, doubt=doubt, free=False).moved(wrong) for doubt in (0.1, 0.001))
    moved = [np.abs(mesh.vertices - wrong.vertices).max() for mesh in (free, held)]
    assert moved[1] < 0.5 * moved[0]


def test_two_runs_are_equal() -> None:
    wrong = egg((1.03, 1.0, 1.0))
    one, other = refined(wrong, CAMERAS), refined(wrong, CAMERAS)
    np.testing.assert_array_equal(one.moved(wrong).vertices, other.moved(wrong).vertices)


class Impatient(SilentMonitor):
    """Asks to stop at the tenth check."""

    def __init__(self) -> None:
        self.checks = 0

    def check(self) -> None:
        self.checks += 1
        if self.checks > 10:
            raise Cancelled("stop")


def test_it_stops_when_asked() -> None:
    mesh = egg((1.0, 1.0, 1.0))
    with pytest.raises(Cancelled):
        refine(
            grey(mesh),
            mesh.vertices,
            VIEWS,
            CAMERAS,
            doubt=0.01,
            free_cameras=True,
            config=CONFIG,
            monitor=Impatient(),
            device="cpu",
        )


def test_the_model_moves_the_dense_shape_and_says_so() -> None:
    wrong = egg((1.05, 1.0, 1.0))
    evidence = Evidence(views=ViewSet(views=VIEWS), cameras=CAMERAS, shape=wrong, device="cpu", effort="draft")
    proposal = get_model("nvdiffrec").propose(evidence, SilentMonitor())
    assert len(proposal.mesh.faces) == len(wrong.faces)
    assert proposal.cameras is not None
    assert proposal.report["refinement"] == "shape, cameras and texture"
    assert outline_error(proposal.mesh, proposal.cameras) < outline_error(wrong, CAMERAS)
