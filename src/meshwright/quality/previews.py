"""Pictures of the result for people: from the input cameras, as a wireframe, and walking around."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from meshwright.device import map_threads
from meshwright.errors import OptionError
from meshwright.export import write_png
from meshwright.quality.comparison import render, working_size
from meshwright.rendering import render_wireframe, turntable_cameras
from meshwright.types import Camera, ColouredMesh, Monitor, SilentMonitor, TexturedMesh

__all__ = ["PreviewFiles", "write_previews"]

MOST_VIEWS = 6
"""Posed image sets have dozens of cameras; so many are shown, evenly spread."""
TURNTABLE = 8


@dataclass(frozen=True, kw_only=True)
class PreviewFiles:
    """What was written: `textured_00.png` and so on."""

    textured: tuple[Path, ...]
    wireframe: tuple[Path, ...]
    turntable: tuple[Path, ...]


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
    jobs = [(f"textured_{index:02d}.png", camera) for index, camera in enumerate(shown)]
    jobs += [(f"wireframe_{index:02d}.png", camera) for index, camera in enumerate(shown)]
    jobs += [(f"turntable_{index:02d}.png", camera) for index, camera in enumerate(around)]

    def draw(job: tuple[str, Camera]) -> Path:
        monitor.check()
        name, camera = job
        if name.startswith("wireframe"):
            picture = render_wireframe(mesh.mesh, camera, device=device)
        else:
            picture = render(mesh, camera, device=device)
        return write_png(folder / name, np.rint(picture.over(1.0) * 255).astype(np.uint8))

    paths = map_threads(draw, jobs, device=device)
    count = len(shown)
    return PreviewFiles(
        textured=tuple(paths[:count]), wireframe=tuple(paths[count : 2 * count]), turntable=tuple(paths[2 * count :])
    )


def _fitted(camera: Camera, size: int) -> Camera:
    scale = size / max(camera.width, camera.height)
    if scale <= 1:
        return camera.resized(*working_size(camera.width, camera.height, size))
    return camera.resized(max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))
