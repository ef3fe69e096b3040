"""Make an exact six-view folder as untidy as real ones: views disagree in scale and place, depth sits a little off.

Works on every folder in the layout of `dataset.py`. Pictures are resampled (cubic, premultiplied, in linear light,
at sub-pixel positions), depth is moved without mixing values across silhouettes. The reference surface and the test
views are copied unchanged, the cameras are not: `cameras_true.json` holds the ones that fit the disturbed pictures,
under a name that no reader takes for given cameras. `disturb.json` says what was done to each file.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from meshwright.errors import InputError, OptionError, OutputError
from meshwright.synth.encode import on_white, save_png
from meshwright.synth.resample import Disturbance, disturbed_camera, read_codes, resample_depth, resample_picture
from meshwright.synth.studio import lay_on_studio_ground
from meshwright.transforms import read_cameras, write_cameras
from meshwright.types import VIEW_NAMES, Array

__all__ = ["DisturbConfig", "disturb", "draw_disturbances"]


@dataclass(frozen=True, kw_only=True)
class DisturbConfig:
    """How far things are moved. Amounts are the largest that may occur, in both directions."""

    scale: float = 0.06
    """Of a view about its centre, as a share."""
    offset: float = 0.02
    """Of a view in x and in y, as a share of its width."""
    depth_scale: float = 0.02
    """Of a depth render against its view, as a share."""
    depth_shift: float = 4.0
    """Of a depth render against its view, in pixels of the depth render."""
    gain: float = 0.0
    """Brightness of a view, as a share, in linear light."""
    studio: bool = False
    """Lay the views on a near-white ground with a gradient and a soft shadow; they lose their alpha."""
    keep_inside: bool = True
    """Never push the object over the edge of a picture that holds it whole: the shift is limited, or enlarging becomes
    shrinking."""
    swap_left_right: bool = False
    """Exchange the files of the left and the right view."""
    mirror: str | None = None
    """Flip this view (and its depth) left to right."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse amounts that leave nothing to see, and unknown views."""
        for name in ("scale", "offset", "depth_scale", "gain"):
            if not 0 <= getattr(self, name) < 0.5:
                raise OptionError(f"{name}={getattr(self, name)}.", hint="Use a share from 0 to below 0.5.")
        if self.depth_shift < 0:
            raise OptionError(f"depth_shift={self.depth_shift} pixels.", hint="Use 0 or more.")
        if self.mirror is not None and self.mirror not in VIEW_NAMES:
            raise OptionError(f"mirror={self.mirror!r} is no view.", hint=f"Use one of {', '.join(VIEW_NAMES)}.")


def draw_disturbances(config: DisturbConfig) -> dict[str, Disturbance]:
    """By the name of the file that is written. Scales are spread over both signs, so no two views agree by chance."""
    rng = np.random.default_rng(config.seed)
    spread = np.linspace(-1, 1, len(VIEW_NAMES))
    jitter = 1 / len(VIEW_NAMES)
    scales = np.clip(rng.permutation(spread) + rng.uniform(-jitter, jitter, 6), -1, 1)
    depth_scales = np.clip(rng.permutation(spread) + rng.uniform(-jitter, jitter, 6), -1, 1)
    offsets, shifts = rng.uniform(-1, 1, (6, 2)), rng.uniform(-1, 1, (6, 2))
    gains = rng.uniform(-1, 1, 6)
    shows = {name: name for name in VIEW_NAMES}
    if config.swap_left_right:
        shows["left"], shows["right"] = "right", "left"
    return {
        name: Disturbance(
            shows=shows[name],
            scale=float(1 + config.scale * scales[i]),
            offset=(float(config.offset * offsets[i, 0]), float(config.offset * offsets[i, 1])),
            depth_scale=float(1 + config.depth_scale * depth_scales[i]),
            depth_shift=(float(config.depth_shift * shifts[i, 0]), float(config.depth_shift * shifts[i, 1])),
            gain=float(1 + config.gain * gains[i]),
            mirrored=config.mirror == name,
        )
        for i, name in enumerate(VIEW_NAMES)
    }


def disturb(source: Path, target: Path, config: DisturbConfig = DisturbConfig()) -> dict[str, Disturbance]:
    """Write a disturbed copy of a six-view folder; the same seed gives the same files.

    Args:
        source: Folder with `views/` and, if there are any, `depth*/` folders, `gt_mesh.ply`, test views.
        target: Folder to write; must not exist yet or be empty.
        config: What to do.

    Returns:
        What was done, by view; also in `disturb.json`.

    Raises:
        InputError: A view is missing in `source`.
        OutputError: `target` holds something, or cannot be written.
    """
    missing = [name for name in VIEW_NAMES if not (source / "views" / f"{name}.png").is_file()]
    if missing:
        raise InputError(
            f"{source.name!r} has no views/{missing[0]}.png.", hint="Give a folder with six views in views/."
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OutputError(f"{target.name!r} is there and not empty.", hint="Give a new folder.")
    plan = draw_disturbances(config)
    partial = target.with_name(f".{target.name}.partial")
    try:
        partial.mkdir(parents=True)
        if config.keep_inside:
            plan = {
                name: _kept_inside(change, _object_box(source, change.shows), config) for name, change in plan.items()
            }
        for name, change in plan.items():
            _write_view(source, partial, name, change, config)
            for folder in sorted(source.glob("depth*")):
                if (folder / f"{change.shows}.png").is_file():
                    _write_depth(folder / f"{change.shows}.png", partial / folder.name / f"{name}.png", change)
        _write_truth(source, partial, plan)
        document = {"config": asdict(config), "views": {name: asdict(change) for name, change in plan.items()}}
        (partial / "disturb.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        partial.replace(target)
    except OSError as error:
        raise OutputError(
            f"{target.name!r} cannot be written: {error.strerror}.", hint="Choose another place."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return plan


def _object_box(source: Path, view: str) -> tuple[Array, Array] | None:
    """Corners [2], [2] of the object in a view, a pixel wide of it, in widths from the image centre.

    None where no file tells.
    """
    codes = read_codes(source / "views" / f"{view}.png")
    if codes.ndim == 3 and codes.shape[2] == 4:
        inside = codes[..., 3] > 127
    else:
        depth = sorted(source.glob(f"depth*/{view}.png"))
        if not depth:
            return None
        codes = read_codes(depth[0])
        inside = (codes if codes.ndim == 2 else codes.max(-1)) > 0
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if len(rows) == 0:
        return None
    height, width = inside.shape
    low = np.array([columns[0] - 1 - width / 2, rows[0] - 1 - height / 2]) / width
    return low, np.array([columns[-1] + 2 - width / 2, rows[-1] + 2 - height / 2]) / width


def _kept_inside(change: Disturbance, box: tuple[Array, Array] | None, config: DisturbConfig) -> Disturbance:
    """The disturbance, tamed so that the object's box stays a little inside the (square) frame."""
    if box is None or max(-box[0].min(), box[1].max()) > 0.5 - 1e-3:
        return change
    edge = max(0.5 - 0.004, float(max(-box[0].min(), box[1].max())))
    for scale in (change.scale, min(change.scale, 2 - change.scale)):
        least, most = -edge - scale * box[0], edge - scale * box[1]
        offset = np.clip(change.offset, least, np.maximum(most, least))
        if (least <= most).all() and np.abs(offset).max() <= config.offset + 1e-9:
            break
    return replace(change, scale=float(scale), offset=(float(offset[0]), float(offset[1])))


def _write_view(source: Path, target: Path, name: str, change: Disturbance, config: DisturbConfig) -> None:
    codes = read_codes(source / "views" / f"{change.shows}.png")
    if codes.ndim == 2:
        codes = np.repeat(codes[..., None], 3, 2)
    if config.studio and codes.shape[2] != 4:
        raise InputError(
            f"views/{change.shows}.png has no alpha, so its ground cannot be exchanged.", hint="Leave `studio` out."
        )
    moved = resample_picture(codes, change)
    if change.mirrored:
        moved = moved[:, ::-1]
    has_alpha = moved.shape[2] == 4
    if has_alpha and (source / "views_white").is_dir():
        save_png(target / "views_white" / f"{name}.png", on_white(moved))
    if config.studio:
        moved = lay_on_studio_ground(moved, change.shows, seed=config.seed)
    save_png(target / "views" / f"{name}.png", moved)


def _write_depth(source: Path, target: Path, change: Disturbance) -> None:
    codes = read_codes(source)
    if codes.ndim == 3:
        codes = codes[..., 0]
    moved = resample_depth(codes, change)
    save_png(target, moved[:, ::-1] if change.mirrored else moved)


def _write_truth(source: Path, target: Path, plan: dict[str, Disturbance]) -> None:
    for name in ("gt_mesh.ply", "transforms_test.json"):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    if (source / "test").is_dir():
        shutil.copytree(source / "test", target / "test", copy_function=shutil.copyfile)
    if (source / "transforms_train.json").is_file():
        cameras = {camera.name: camera for _, camera in read_cameras(source / "transforms_train.json")}
        true = [replace(disturbed_camera(cameras[change.shows], change), name=name) for name, change in plan.items()]
        write_cameras(target / "cameras_true.json", true, [f"./views/{name}" for name in plan])
