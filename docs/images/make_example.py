"""Draws docs/images/example.png from the bundled views and a finished run of scripts/demo.

scripts/demo && .venv/bin/python docs/images/make_example.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

from meshwright.rendering import contact_sheet
from meshwright.types import VIEW_NAMES

ROOT = Path(__file__).resolve().parents[2]


def picture(path: Path, side: int) -> np.ndarray:
    """A picture on white, uint8 [side, side, 3]."""
    image = Image.open(path).convert("RGBA")
    shown = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return np.asarray(shown.resize((side, side), Image.Resampling.LANCZOS))


def cropped(path: Path, side: int) -> np.ndarray:
    """The same, with most of the white around the object cut away."""
    image = Image.open(path).convert("RGB")
    box = ImageChops.invert(image).getbbox()
    assert box is not None
    half = max(box[2] - box[0], box[3] - box[1]) * 0.54
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    frame = Image.new("RGB", (round(2 * half), round(2 * half)), "white")
    frame.paste(image, (round(half - x), round(half - y)))
    return np.asarray(frame.resize((side, side), Image.Resampling.LANCZOS))


def main() -> None:
    """Puts the sheet together."""
    views = ROOT / "examples" / "six_views" / "views"
    previews = ROOT / "out" / "demo" / "previews"
    given = contact_sheet([picture(views / f"{name}.png", 160) for name in VIEW_NAMES], 2, labels=VIEW_NAMES)
    side = (given.shape[0] - 3 * 4) // 2
    made = contact_sheet(
        [cropped(previews / f"turntable_{index:02d}.png", side) for index in (1, 3, 6)]
        + [cropped(previews / "wireframe_02.png", side)],
        2,
    )
    height = max(given.shape[0], made.shape[0])
    sides = [np.pad(part, ((0, height - part.shape[0]), (0, 0), (0, 0)), constant_values=255) for part in (given, made)]
    gap = np.full((height, 24, 3), 255, np.uint8)
    sheet = Image.fromarray(np.concatenate([sides[0], gap, sides[1]], 1))
    sheet.quantize(128, dither=Image.Dither.NONE).save(Path(__file__).with_name("example.png"), optimize=True)


if __name__ == "__main__":
    main()
