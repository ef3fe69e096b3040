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

from meshwright.colour import from_srgb8, to_srgb8
from meshwright.errors import InputError, OptionError, OutputError
from meshwright.synth.encode import on_white, save_png
from meshwright.synth.studio import lay_on_studio_ground
from meshwright.transforms import read_cameras, write_cameras
from meshwright.types import VIEW_NAMES, Array, Camera

__all__ = ["DisturbConfig", "Disturbance", "disturb", "draw_disturbances", "resample_depth", "resample_picture"]


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


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """What happens to one view.

    Attributes:
        shows: The direction that the picture was really taken from.
        scale: Factor about the image centre.
        offset: Shift afterwards, x right and y down, as a share of the width.
        depth_scale, depth_shift: The same of the depth render, after it followed its view; the shift in pixels.
        gain: Factor of brightness, linear light.
        mirrored: Flipped left to right at the very end.
    """

    shows: str
    scale: float = 1.0
    offset: tuple[float, float] = (0.0, 0.0)
    depth_scale: float = 1.0
    depth_shift: tuple[float, float] = (0.0, 0.0)
    gain: float = 1.0
    mirrored: bool = False


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


def resample_picture(codes: Array, change: Disturbance) -> Array:
    """An sRGB picture, uint8 [H, W, 3 or 4], moved and scaled; borders repeat outwards (alpha ones are empty)."""
    from PIL import Image

    height, width = codes.shape[:2]
    alpha = codes[..., 3:] / np.float32(255) if codes.shape[2] == 4 else np.ones((height, width, 1), np.float32)
    layers = np.concatenate([from_srgb8(codes[..., :3]) * alpha * np.float32(change.gain), alpha], -1)
    pad = 4 + int(max(height, width) * 0.5)
    layers = np.pad(layers, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    dx, dy = change.offset[0] * width, change.offset[1] * width
    # Pillow asks where in the source an output pixel lies: source = centre + (output - centre - offset) / scale.
    k = 1 / change.scale
    matrix = (k, 0.0, pad + width / 2 * (1 - k) - dx * k, 0.0, k, pad + height / 2 * (1 - k) - dy * k)
    # Keys' cubic rings on one pixel only, and to the dark side there: clipping leaves no halo.
    moved = np.stack(
        [
            np.asarray(
                Image.fromarray(np.ascontiguousarray(layers[..., c])).transform(
                    (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
                )
            )
            for c in range(4)
        ],
        -1,
    )
    coverage = np.clip(moved[..., 3:], 0, 1)
    straight = np.clip(moved[..., :3], 0, None) / np.maximum(moved[..., 3:], 1e-4)
    rgb = to_srgb8(straight)
    if codes.shape[2] == 3:
        return rgb
    alpha8 = np.rint(coverage * 255).astype(np.uint8)
    return np.concatenate([np.where(alpha8 > 0, rgb, 0).astype(np.uint8), alpha8], -1)


def resample_depth(codes: Array, change: Disturbance) -> Array:
    """Depth codes [H, W], moved with their view and then by their own share; 0 stays background.

    Between four neighbours on one surface the value is blended; at silhouettes and steps the nearest one is taken.
    """
    height, width = codes.shape
    scale = change.scale * change.depth_scale
    # The view's offset is a share of the width, so depth renders of another size than the view move alike.
    shift_x = change.offset[0] * width * change.depth_scale + change.depth_shift[0]
    shift_y = change.offset[1] * width * change.depth_scale + change.depth_shift[1]
    x = width / 2 + (np.arange(width) + 0.5 - width / 2 - shift_x) / scale - 0.5
    y = height / 2 + (np.arange(height) + 0.5 - height / 2 - shift_y) / scale - 0.5
    padded = np.pad(codes.astype(np.float64), 1)

    def at(rows: Array, columns: Array) -> Array:
        rows, columns = np.clip(rows + 1, 0, height + 1), np.clip(columns + 1, 0, width + 1)
        values: Array = padded[rows.astype(int)[:, None], columns.astype(int)[None]]
        return values

    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = (x - x0)[None], (y - y0)[:, None]
    corners = np.stack([at(y0, x0), at(y0, x0 + 1), at(y0 + 1, x0), at(y0 + 1, x0 + 1)])
    blended = (corners[0] * (1 - fx) + corners[1] * fx) * (1 - fy) + (corners[2] * (1 - fx) + corners[3] * fx) * fy
    nearest = at(np.rint(y), np.rint(x))
    # A step of 2 % of the largest value is taken for an edge; a sloping surface stays below that per pixel.
    smooth = (corners.min(0) > 0) & (corners.max(0) - corners.min(0) <= 0.02 * max(float(codes.max()), 1.0))
    return np.rint(np.where(smooth, blended, nearest)).astype(codes.dtype)


def disturbed_camera(camera: Camera, change: Disturbance) -> Camera:
    """The camera that fits a picture after `resample_picture` (before any mirroring)."""
    width, height, s = camera.width, camera.height, change.scale
    return replace(
        camera,
        fl_x=camera.fl_x * s,
        fl_y=camera.fl_y * s,
        cx=width / 2 + s * (camera.cx - width / 2) + change.offset[0] * width,
        cy=height / 2 + s * (camera.cy - height / 2) + change.offset[1] * width,
    )


def _read_codes(path: Path) -> Array:
    from PIL import Image

    with Image.open(path) as image:
        if image.mode in ("L", "I;16", "I", "RGB", "RGBA"):
            codes = np.asarray(image)
        else:
            codes = np.asarray(image.convert("RGB"))
    return codes.astype(np.uint16) if codes.dtype == np.int32 else codes


def _write_view(source: Path, target: Path, name: str, change: Disturbance, config: DisturbConfig) -> None:
    codes = _read_codes(source / "views" / f"{change.shows}.png")
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
    codes = _read_codes(source)
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
