"""Write a procedural object as the example folders that meshwright reads, with the truth beside them.

Six-view folder, the layout of the project's sample data:

    views/<view>.png                              RGBA, straight alpha
    views_white/<view>.png                        the same on white, RGB (asked for with `white`)
    depth_metric/ depth_linear8/ depth_norm/      the kinds of `depth`
    transforms_train.json                         the six cameras
    test/r_00.png ..., transforms_test.json       views from elsewhere, never to be given to a reconstruction
    gt_mesh.ply                                   the exact surface

With `plain`, only what a user would have: `views/` (RGB on white) and `depth/` (the first kind of `depth`).
With `posed`, a NeRF-synthetic folder instead of six views: `img/`, `transforms_train.json` (90 %),
`transforms_test.json` (10 %), `gt_mesh.ply`.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from meshwright.device import map_threads
from meshwright.errors import OptionError, OutputError
from meshwright.synth.encode import DEPTH_ENCODERS, on_white, rgba8, save_png
from meshwright.synth.objects import get_object
from meshwright.synth.rig import orbit_cameras, six_view_cameras
from meshwright.synth.trace import Scene, render
from meshwright.synth.truth import prepare
from meshwright.transforms import write_cameras
from meshwright.types import Camera, Mesh, Monitor, SilentMonitor

__all__ = ["SynthConfig", "write_example"]


@dataclass(frozen=True, kw_only=True)
class SynthConfig:
    """What an example consists of."""

    size: int = 512
    """Pixels along a picture's side."""
    test_views: int = 8
    """Held-out views of a six-view folder; 0 writes none."""
    posed: int = 0
    """Write this many posed pictures from all around instead of six views."""
    seed: int = 0
    """Of random parts of the texture, and of where the test views stand."""
    depth: tuple[str, ...] = ("metric", "linear8", "norm")
    """Kinds of depth render: `metric` (16 bit), `linear8` (far = bright), `norm` (inverse, near = bright)."""
    white: bool = False
    """Also write the views on white, without alpha."""
    plain: bool = False
    """Only what a user would have: views on white and one kind of depth; no cameras, no truth."""
    samples: int = 3
    """Rays along a pixel's side; odd, so that one goes through the centre, where depth is measured."""
    mesh_grid: int = 192
    """Cells along the longest side when the reference surface is cut into triangles."""

    def __post_init__(self) -> None:
        """Refuse what cannot be written."""
        if not 16 <= self.size <= 4096:
            raise OptionError(f"size={self.size} pixels.", hint="Use 16 to 4096.")
        unknown = [kind for kind in self.depth if kind not in DEPTH_ENCODERS]
        if unknown:
            raise OptionError(f"Depth kind {unknown[0]!r} is not known.", hint=f"Use {', '.join(DEPTH_ENCODERS)}.")
        if self.posed < 0 or self.posed in (1, 2) or self.test_views < 0:
            raise OptionError(
                f"posed={self.posed}, test_views={self.test_views}.", hint="posed is 0 or at least 3, test_views >= 0."
            )
        if self.plain and self.posed:
            raise OptionError("A plain example has six views, not posed pictures.", hint="Leave one of the two out.")


def write_example(
    name: str,
    folder: Path,
    config: SynthConfig = SynthConfig(),
    *,
    monitor: Monitor | None = None,
    device: str = "cpu",
) -> None:
    """Render one object of the catalogue into `folder`, which must not exist yet or be empty.

    Raises:
        OptionError: There is no such object.
        OutputError: The folder holds something, or cannot be written.
    """
    item = get_object(name)
    monitor = monitor or SilentMonitor()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder.name!r} is there and not empty.", hint="Give a new folder.")
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        partial.mkdir(parents=True)
        monitor.report(0, "building the exact surface")
        scene, mesh = prepare(item, grid=config.mesh_grid, seed=config.seed, device=device)
        if config.posed:
            _write_posed(scene, partial, config, monitor)
        else:
            _write_six(scene, partial, config, monitor)
        if not config.plain:
            _write_mesh(mesh, partial / "gt_mesh.ply")
        partial.replace(folder)
    except OSError as error:
        raise OutputError(
            f"{folder.name!r} cannot be written: {error.strerror}.", hint="Choose another place."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    monitor.report(100, "done")


def _write_six(scene: Scene, folder: Path, config: SynthConfig, monitor: Monitor) -> None:
    train = six_view_cameras(config.size)
    test = orbit_cameras(0 if config.plain else config.test_views, config.size, seed=config.seed)
    counter = _Counter(monitor, len(train) + len(test))

    def write_train(camera: Camera) -> None:
        monitor.check()
        picture = render(scene, camera, samples=config.samples)
        rgba, file_name = rgba8(picture), f"{camera.name}.png"
        save_png(folder / "views" / file_name, on_white(rgba) if config.plain else rgba)
        if config.white and not config.plain:
            save_png(folder / "views_white" / file_name, on_white(rgba))
        for kind in config.depth[:1] if config.plain else config.depth:
            depth_folder = "depth" if config.plain else f"depth_{kind}"
            save_png(folder / depth_folder / file_name, DEPTH_ENCODERS[kind](picture.depth))
        counter.step(f"view {camera.name}")

    map_threads(write_train, train, device=scene.device)
    if config.plain:
        return
    write_cameras(folder / "transforms_train.json", train, [f"./views/{camera.name}" for camera in train])
    if test:
        _write_pictures(scene, test, folder / "test", config, counter)
        write_cameras(folder / "transforms_test.json", test, [f"./test/{camera.name}" for camera in test])


def _write_posed(scene: Scene, folder: Path, config: SynthConfig, monitor: Monitor) -> None:
    cameras = orbit_cameras(config.posed, config.size, distance=2.8, seed=config.seed)
    _write_pictures(scene, cameras, folder / "img", config, _Counter(monitor, len(cameras)))
    # Every tenth view is held out, the first of them from the middle of the first ten: all heights are tested.
    held = set(range(min(4, config.posed - 1), config.posed, 10))
    for split, chosen in (("train", False), ("test", True)):
        part = [camera for i, camera in enumerate(cameras) if (i in held) == chosen]
        write_cameras(folder / f"transforms_{split}.json", part, [f"./img/{camera.name}" for camera in part])


class _Counter:
    """Progress of pictures that finish in any order, from several threads."""

    def __init__(self, monitor: Monitor, total: int) -> None:
        self.monitor, self.total, self.done = monitor, total, 0
        self._lock = threading.Lock()

    def step(self, label: str) -> None:
        with self._lock:
            self.done += 1
            self.monitor.report(5 + 95 * self.done / self.total, label)


def _write_pictures(
    scene: Scene, cameras: Sequence[Camera], folder: Path, config: SynthConfig, counter: _Counter
) -> None:
    def write(camera: Camera) -> None:
        counter.monitor.check()
        save_png(folder / f"{camera.name}.png", rgba8(render(scene, camera, samples=config.samples)))
        counter.step(f"view {camera.name}")

    map_threads(write, cameras, device=scene.device)


def _write_mesh(mesh: Mesh, path: Path) -> None:
    """Binary PLY; vertices in float32, so the surface is exact to about a millionth of the object."""
    vertices, faces = mesh.vertices.astype("<f4"), mesh.faces.astype("<i4")
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = np.empty(len(faces), np.dtype([("count", "u1"), ("corner", "<i4", 3)]))
    rows["count"], rows["corner"] = 3, faces
    path.write_bytes(header.encode("ascii") + vertices.tobytes() + rows.tobytes())
