"""Models whose recipe takes half a second: the faults of the service do not depend on what a model computes.

`MESHWRIGHT_MODEL_FACTORY=service_fast_model:make` puts them in place of the real ones, under the same names. They go
through the same stages of a run: checkpoints beside the output, progress, checks, a result that appears by rename.
"""

from __future__ import annotations

import io
import json
import os
import struct
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from meshwright.errors import DiskFullError, WeightsNotInstalledError
from meshwright.export import save_mesh_both_formats, write_glb
from meshwright.models import BaseReconstructionModel, ModelOutput, get_model
from meshwright.types import Mesh, Monitor, TexturedMesh
from meshwright.workspace import Workspace

STAGES = 5
LIVE = ("views", "shape", "texture")
VIEWS = ("front", "back", "left", "right", "top", "bottom")

NAMES = ("mesh.obj", "mesh.mtl", "mesh.png", "mesh.ply", "mesh.glb", "previews", "cameras.json", "quality.json")


def make(name: str, *, device: str, monitor: Monitor, **options: object) -> BaseReconstructionModel:
    """In place of `meshwright.get_model`."""
    model = get_model(name, device=device, monitor=monitor, recipe=recipe, **options)
    missing = os.environ.get("FAST_MODEL_MISSING", "").split(",")

    def load_weights() -> None:
        if name in missing:
            raise WeightsNotInstalledError("The checkpoint is not there.", hint="Install it.")

    model.load_weights = load_weights  # type: ignore[method-assign]
    return model


def recipe(
    input_dir: Path,
    output_dir: Path,
    *,
    model: BaseReconstructionModel,
    monitor: Monitor,
    options: Mapping[str, object],
) -> ModelOutput:
    """Five stages of a tenth of a second each, or of `FAST_MODEL_STAGE_S`."""
    pause = float(os.environ.get("FAST_MODEL_STAGE_S", "0.1"))
    trouble = os.environ.get("FAST_MODEL_TROUBLE", "")
    views = sorted(path.name for path in input_dir.iterdir())
    if len(views) != 6:
        raise AssertionError(f"six views were expected, there are {views}")
    if options.get("depth_dir"):
        assert len(list(Path(str(options["depth_dir"])).iterdir())) == 6
    with Workspace(output_dir, own_names=NAMES) as workspace:
        done = 0
        workspace.checkpoints.mkdir(exist_ok=True)
        for stage in range(STAGES):
            kept = workspace.checkpoints / f"stage{stage}.npz"
            monitor.report(100 * stage / STAGES, f"Stage {stage}")
            if kept.exists():
                assert int(np.load(kept)["stage"]) == stage
                continue
            _wait(pause, monitor, deaf=trouble == "deaf")
            _make_trouble(trouble, stage)
            part = kept.with_suffix(".tmp")
            with part.open("wb") as file:
                np.savez(file, stage=np.array(stage), filler=np.zeros(2000))
            part.replace(kept)
            done += 1
            if options.get("live_pictures") and stage < len(LIVE):
                (workspace.checkpoints / f"live_{stage + 1:02d}_{LIVE[stage]}.png").write_bytes(_picture(stage, "PNG"))
        _write(workspace.result, model.model_name, done)
        workspace.commit()
    return ModelOutput(
        mesh_path=output_dir / "mesh.obj", ply_path=output_dir / "mesh.ply", texture_path=output_dir / "mesh.png"
    )


def _wait(seconds: float, monitor: Monitor, *, deaf: bool) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not deaf:
            monitor.check()
        time.sleep(min(0.02, seconds))


def _make_trouble(trouble: str, stage: int) -> None:
    if stage != 2:
        return
    if trouble == "oom":
        raise MemoryError
    if trouble == "vram":
        raise type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory")
    if trouble == "bug":
        raise KeyError("/home/somebody/secret/path.py")
    if trouble == "disk":
        raise DiskFullError("The disk is full.", hint="")
    if trouble == "die":
        os.kill(os.getpid(), 9)


def _write(folder: Path, model: str, done: int) -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]], np.int32)
    uv = np.array([[0, 0], [1, 0], [0, 1]], np.float32)
    textured = TexturedMesh(
        mesh=Mesh(vertices=corners, faces=faces),
        uv=uv,
        uv_faces=np.tile(np.arange(3, dtype=np.int32), (4, 1)),
        base_color_srgb=np.random.default_rng(0).integers(40, 220, (16, 16, 3), np.uint8),
    )
    save_mesh_both_formats(textured, folder)
    write_glb(textured, folder / "mesh.glb")
    (folder / "previews").mkdir()
    for index in range(6):
        (folder / "previews" / f"textured_{index:02d}.png").write_bytes(_pixel())
        for shade, kind in enumerate(("input", "render", "error")):
            (folder / "previews" / f"{kind}_{index:02d}.webp").write_bytes(_picture(10 * index + shade, "WEBP"))
    (folder / "cameras.json").write_text(json.dumps({"frames": [{"file_path": "../../views/front.png"}]}))
    quality = {
        "status": "normal",
        "summary": f"A pyramid by {model}; {done} stages were worked on.",
        "warnings": ["The rig was resolved as: left seen from the object's own left."],
        "mean": {"psnr": 30.0, "ssim": 0.9, "flip": 0.05, "silhouette_iou": 0.98},
        "views": [
            {"name": view, "psnr": 30.0 + index, "ssim": 0.9, "flip": 0.05, "silhouette_iou": 0.98}
            for index, view in enumerate(VIEWS)
        ],
        "timings": {"model": 0.1 * done},
        "versions": {"meshwright": "test"},
    }
    (folder / "quality.json").write_text(json.dumps(quality))


def _picture(shade: int, kind: str) -> bytes:
    pixels = np.full((64, 64, 3), 255, np.uint8)
    pixels[16:48, 16:48] = (40 + 3 * shade, 120, 200 - 3 * shade)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def _pixel() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0abc")) + chunk(b"IEND", b"")
