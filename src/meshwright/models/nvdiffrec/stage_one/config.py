"""How stage one goes about it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from meshwright.errors import OptionError
from meshwright.models.nvdiffrec.appearance.config import VolumeConfig
from meshwright.rendering.ops.hashgrid.layout import HashGrid

__all__ = ["CarveConfig", "StageLevel", "StageOneConfig"]

EXTRACTORS = ("tetrahedra", "cubes")
LIGHTINGS = ("baked", "pbr")


@dataclass(frozen=True, kw_only=True)
class CarveConfig:
    """How hollows are found, see `carving`."""

    cells: tuple[int, ...] = (32, 64)
    """Of the fog along the hull's longest side, from coarse to fine."""
    steps: tuple[int, ...] = (60, 100)
    rays: int = 8192
    """A step."""
    pixels: int = 128
    """Long side of the pictures looked at."""
    stride: float = 0.7
    """Between two samples of a ray, in cells."""
    thickness: float = 6.0
    """Of the fog at first: what a ray through the longest side loses, as a logarithm."""
    colour_rate: float = 0.08
    density_rate: float = 0.4
    pure_weight: float = 0.3
    """Of colours that are only right in the mix."""
    clear: float = 0.93
    """What three views see so much of is empty. Thin parts are thin fog: asking for less would take them."""
    shift: float = 0.4
    """Cells of the fog by which less is taken away: its front is soft."""
    blur: float = 0.8
    """Of the border between what is seen through and what is not, in cells."""
    seed: int = 0

    def __post_init__(self) -> None:
        faults = [
            f"{name}={getattr(self, name)} (use more than 0)"
            for name in ("rays", "pixels", "stride", "thickness", "colour_rate", "density_rate", "blur")
            if not getattr(self, name) > 0
        ]
        if not self.cells or len(self.cells) != len(self.steps) or min(*self.cells, *self.steps) < 1:
            faults.append(f"cells={self.cells}, steps={self.steps} (use one number of steps for each number of cells)")
        if not 0 < self.clear < 1:
            faults.append(f"clear={self.clear} (use between 0 and 1)")
        if faults:
            raise OptionError("Options of carving out of range: " + "; ".join(faults) + ".")


@dataclass(frozen=True, kw_only=True)
class StageLevel:
    """One round, from coarse to fine."""

    cells: int
    """Along the longest side of the box, 8 or more; then the same or twice as many. Above 32 even many times."""
    pixels: int
    """Long side of the pictures compared."""
    steps: int
    move: float = 0.05
    """Step of the signed distance at first, in cells, where gradients are as strong as in the mean."""


@dataclass(frozen=True, kw_only=True)
class StageOneConfig:
    """What is fitted, and what holds it back."""

    levels: tuple[StageLevel, ...] = (
        StageLevel(cells=64, pixels=256, steps=60),
        StageLevel(cells=128, pixels=384, steps=60),
    )
    carve: CarveConfig | None = field(default_factory=CarveConfig)
    """How hollows are found first; None begins with the rounded hull."""
    extractor: str = "tetrahedra"
    """"tetrahedra" (DMTet) or "cubes" (FlexiCubes)."""
    lighting: str = "baked"
    """"baked": the base colour is what is seen; "pbr": materials under a light that is fitted too."""
    volume: VolumeConfig = field(
        default_factory=lambda: VolumeConfig(grid=HashGrid(levels=10, coarsest=8, finest=512, log2_size=16))
    )
    sharpness: float = 0.55
    """Finest cells of the volume across a pixel, at most: with finer ones pixels are learned by heart, and views
    between the given ones get worse with every step."""
    light_size: int = 32
    """Texels along an edge of a face of the light."""
    views_at_once: int = 6
    margin: float = 0.08
    """Of the box around the first shape, as a share of its longest side, on each side."""
    offset_rate: float = 0.01
    """Step of the raw offsets and cube weights."""
    colour_rate: float = 0.02
    """Step of the material volume at first."""
    light_rate: float = 0.02
    mask_weight: float = 2.0
    depth_weight: float = 1.0
    """Of depth, for the views that have it; 0 leaves it aside."""
    sign_weight: float = 0.002
    spread: int = 12
    """How often gradients of the signed distance are averaged with those of its neighbours."""
    laplacian_weight: float = 0.3
    """Of squared distances from the mean of the neighbours, in cells, at the end of the last level; a tenth of it
    at the beginning of a level, and a quarter at one with half as many cells, so that the same bend costs the same."""
    smooth_weight: float = 0.01
    """Of changes of materials over a cell; with "pbr" only."""
    white_weight: float = 0.005
    """Of coloured light."""
    uneven_weight: float = 0.05
    """Of unevenness in cells; with "cubes" only."""
    grid: int = 96
    """Voxels along the longest side of the hull that the shape begins as."""
    seed: int = 0

    def __post_init__(self) -> None:
        faults = [
            f"{name}={getattr(self, name)} (use 0 or more)"
            for name in (
                "margin", "offset_rate", "colour_rate", "spread", "light_rate", "mask_weight", "depth_weight",
                "sign_weight", "laplacian_weight", "smooth_weight", "white_weight", "uneven_weight",
            )
            if not getattr(self, name) >= 0
        ]  # fmt: skip
        if not self.sharpness > 0:
            faults.append(f"sharpness={self.sharpness} (use more than 0)")
        if self.extractor not in EXTRACTORS:
            faults.append(f"extractor={self.extractor!r} (use {', '.join(EXTRACTORS)})")
        if self.lighting not in LIGHTINGS:
            faults.append(f"lighting={self.lighting!r} (use {', '.join(LIGHTINGS)})")
        if self.views_at_once < 1:
            faults.append(f"views_at_once={self.views_at_once} (use 1 or more)")
        cells = [level.cells for level in self.levels]
        steps = itertools.pairwise(cells)
        if not cells or cells[0] < 4 or any(after not in (before, 2 * before) for before, after in steps):
            faults.append(f"cells of the levels are {cells} (begin with 4 or more, then the same or twice as many)")
        if any(level.pixels < 8 or level.steps < 1 or not level.move > 0 for level in self.levels):
            faults.append("levels with less than 8 pixels, without steps or without movement")
        if faults:
            raise OptionError("Options of stage one out of range: " + "; ".join(faults) + ".")
