"""Pictures of the result for people: from the input cameras, as a wireframe, its normals, and walking around."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from meshwright.device import map_threads
from meshwright.errors import OptionError
from meshwright.export import write_animation, write_png
from meshwright.quality.comparison import render, working_size
from meshwright.rendering import turntable_cameras
from meshwright.rendering.pictures import colours_on_white, normals_on_white, wireframe_on_white
from meshwright.rendering.uploads import Uploads
from meshwright.types import Array, Camera, ColouredMesh, Mesh, Monitor, SilentMonitor, TexturedMesh

__all__ = ["PreviewFiles", "picture_of", "write_previews"]

MOST_VIEWS = 6
"""Posed image sets have dozens of cameras; so many are shown, evenly spread."""
TURNTABLE = 8
FRAMES = 36
"""Of the animated turntable."""
FRAME_SIZE = 400
"""Most pixels of its sides."""
SECONDS = 6.0


@dataclass(frozen=True, kw_only=True)
class PreviewFiles:
    """What was written: `textured_00.png` and so on, and `turntable.webp`, which moves."""

    textured: tuple[Path, ...]
    wireframe: tuple[Path, ...]
    normals: tuple[Path, ...]
    turntable: tuple[Path, ...]
    animation: Path


def write_previews(
    mesh: TexturedMesh | ColouredMesh,
    cameras: Sequence[Camera],
    folder: Path,
    *,
    size: int = 768,
    monitor: Monitor | None = None,
    device: str = "cpu",
) -> PreviewFiles:
    """Render and write previews on white.

    Args:
        mesh: As exported.
        cameras: The input cameras, in the frame and unit of the mesh.
        folder: Made if it is not there.
        size: Longer side in pixels.
        monitor: Asked between pictures whether to stop.
        device: Where to render.
    Raises:
        OptionError: `size` is out of range.
        OutputError: A file cannot be written.
    """
    if not 16 <= size <= 8192:
        raise OptionError(f"Previews of {size} pixels cannot be made.", hint="Use 16 to 8192.")
    monitor = monitor or SilentMonitor()
    # np.unique drops repeats where there are fewer cameras than pictures.
    places = (
        np.unique(np.linspace(0, len(cameras) - 1, MOST_VIEWS).round().astype(int)) if cameras else np.zeros(0, int)
    )
    shown = [_fitted(cameras[index], size) for index in places]
    around = turntable_cameras(mesh.mesh, count=TURNTABLE, size=size)
    jobs = [(f"{kind}_{index:02d}.png", camera) for kind in _KINDS for index, camera in enumerate(shown)]
    jobs += [(f"turntable_{index:02d}.png", camera) for index, camera in enumerate(around)]

    uploads = Uploads(device)

    def paint(name: str, camera: Camera) -> Array:
        monitor.check()
        if name.startswith("wireframe"):
            return wireframe_on_white(mesh.mesh, camera, uploads)
        if name.startswith("normals"):
            return normals_on_white(mesh.mesh, camera, uploads)
        return _colours(mesh, camera, uploads)

    animation = folder / "turntable.webp"

    def animate() -> Path:
        walk = turntable_cameras(mesh.mesh, count=FRAMES, size=min(size, FRAME_SIZE))
        frames = map_threads(lambda camera: paint("animation", camera), walk, device=device)
        monitor.check()
        return write_animation(animation, frames, SECONDS)

    def write(job: tuple[str, Camera] | None) -> Path:
        return animate() if job is None else write_png(folder / job[0], paint(*job))

    # The animation first: it takes longest.
    paths = map_threads(write, [None, *jobs], device=device)[1:]
    count = len(shown)
    textured, wireframe, normals = (tuple(paths[i * count : (i + 1) * count]) for i in range(3))
    return PreviewFiles(
        textured=textured,
        wireframe=wireframe,
        normals=normals,
        turntable=tuple(paths[3 * count :]),
        animation=animation,
    )


def picture_of(mesh: Mesh | TexturedMesh | ColouredMesh, *, size: int = 400, device: str = "cpu") -> Array:
    """The mesh from half left on white, sRGB uint8 [size, size, 3]; its normals as colours where it has none."""
    uploads = Uploads(device)
    if isinstance(mesh, Mesh):
        return normals_on_white(mesh, turntable_cameras(mesh, count=TURNTABLE, size=size)[0], uploads)
    return _colours(mesh, turntable_cameras(mesh.mesh, count=TURNTABLE, size=size)[0], uploads)


def _colours(mesh: TexturedMesh | ColouredMesh, camera: Camera, uploads: Uploads) -> Array:
    """The look of any kind of mesh on white, sRGB uint8 [H, W, 3]."""
    if isinstance(mesh, ColouredMesh) or mesh.material is None:
        return colours_on_white(mesh, camera, uploads)
    picture = render(mesh, camera, device=uploads.device, uploads=uploads)
    return np.asarray(np.rint(picture.over(1.0) * 255), np.uint8)


_KINDS = ("textured", "wireframe", "normals")


def _fitted(camera: Camera, size: int) -> Camera:
    scale = size / max(camera.width, camera.height)
    if scale <= 1:
        return camera.resized(*working_size(camera.width, camera.height, size))
    return camera.resized(max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))
