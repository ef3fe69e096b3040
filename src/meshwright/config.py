"""What a caller may ask of a reconstruction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from meshwright.errors import OptionError
from meshwright.inputs import InputConfig
from meshwright.models.generation import Generation, generation_of
from meshwright.models.registry import AVAILABLE_MODELS, DEFAULT_MODEL
from meshwright.types import DepthKind, Lighting, Quality

__all__ = ["PRESETS", "Preset", "ReconstructConfig"]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What a quality level means.

    Attributes:
        grid: Cells along the longest side of the volume that the shape is carved from.
        texture_size: Side of the texture in pixels.
        preview_size: Side of the preview pictures in pixels.
    """

    grid: int
    texture_size: int
    preview_size: int


PRESETS = {
    Quality.DRAFT: Preset(grid=128, texture_size=1024, preview_size=512),
    Quality.STANDARD: Preset(grid=256, texture_size=2048, preview_size=768),
    Quality.HIGH: Preset(grid=384, texture_size=4096, preview_size=1024),
}


@dataclass(frozen=True, kw_only=True)
class ReconstructConfig:
    """Every choice of a reconstruction; the defaults suit six views of one object."""

    model: str = DEFAULT_MODEL
    """One of `meshwright.AVAILABLE_MODELS`."""
    quality: Quality = Quality.STANDARD
    """Sets the grid, the texture size and the size of previews."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    faces: int = 50_000
    """Most triangles of the result."""
    texture_size: int | None = None
    """Side of the texture in pixels; by quality where None."""
    size: float | None = None
    """Longest side of the result in metres. None: 1, or, where cameras are given, as they have it."""
    views: str | Sequence[str] | None = None
    """Which of the six named views there are, such as `front,left,top`; None: all six."""
    depth_dir: Path | None = None
    """Depth renders, where they do not lie beside the views."""
    use_depth: bool = True
    """Whether depth renders shape the result (they may still give masks)."""
    depth_kind: DepthKind = DepthKind.AUTO
    """What the numbers in the depth renders mean."""
    depth_unit: str | float | None = None
    """Length of one code of a metric depth file: `m`, `cm`, `mm`, `0.1mm`, `um`, or a number in object units."""
    cameras: Path | None = None
    """Camera JSON (NeRF-synthetic form) to use instead of finding the cameras."""
    rig: str = "auto"
    """Which way the six views look: `auto` finds out; else a name from `meshwright.cameras`."""
    refine_cameras: bool = False
    """Whether given cameras are calibrated too; cameras that were found always are."""
    generation: Generation | Mapping[str, Any] = field(default_factory=Generation)
    """Which networks the model `reconviagen` asks, and how: a `Generation`, or its fields by name."""
    lighting: Lighting = Lighting.BAKED
    """`baked`: the texture shows what the views show, light and all. `pbr`: base colour, roughness, metalness, normals
    and the light are told apart (`nvdiffrec` only)."""
    live_pictures: bool = False
    """Whether stages leave pictures of what they reached beside their checkpoints, for whoever watches the run."""
    overwrite: bool = False
    """Whether to write into a folder that holds other files."""

    def __post_init__(self) -> None:
        """Turns plain strings into enums and refuses what has no meaning."""
        for name, kind in (("quality", Quality), ("depth_kind", DepthKind), ("lighting", Lighting)):
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, kind(value))
            except ValueError:
                known = ", ".join(item.value for item in kind)
                raise OptionError(f"{name}={value!r} is not known.", hint=f"Use one of {known}.") from None
        object.__setattr__(self, "generation", generation_of(self.generation))
        for name in ("depth_dir", "cameras"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, Path(value))
        if self.views is not None:
            object.__setattr__(self, "views", self.inputs.chosen_views)
        if self.model not in AVAILABLE_MODELS:
            raise OptionError(f"model={self.model!r} is not known.", hint=f"Use one of {', '.join(AVAILABLE_MODELS)}.")
        if self.lighting is Lighting.PBR and not AVAILABLE_MODELS[self.model].light_share:
            able = ", ".join(name for name, model in AVAILABLE_MODELS.items() if model.light_share)
            raise OptionError(
                f"{self.model} does not tell materials from light, as lighting='pbr' asks.",
                hint=f"Use model {able}, or lighting='baked'.",
            )
        if not 100 <= self.faces <= 2_000_000:
            raise OptionError(f"faces={self.faces} is not between 100 and 2000000.")
        if self.texture_size is not None and not 64 <= self.texture_size <= 8192:
            raise OptionError(f"texture_size={self.texture_size} is not between 64 and 8192 pixels.")
        if self.size is not None and not (math.isfinite(self.size) and self.size > 0):
            raise OptionError(f"size={self.size} is not a length above 0.", hint="Give the longest side in metres.")

    @property
    def inputs(self) -> InputConfig:
        """How the input is read."""
        return InputConfig(
            depth_kind=self.depth_kind, depth_unit=self.depth_unit, cameras=self.cameras, views=self.views
        )

    @property
    def preset(self) -> Preset:
        """What the quality level stands for."""
        return PRESETS[self.quality]

    @property
    def texture_pixels(self) -> int:
        """Side of the texture."""
        return self.texture_size or self.preset.texture_size

    @property
    def disk_bytes(self) -> int:
        """About how much disk a run needs at its peak: checkpoints, results, and some room."""
        # Baked texture and its mask uncompressed, the same as PNG in OBJ and GLB, previews and masks, dense meshes.
        texel = 10 if self.lighting is Lighting.BAKED else 30  # base colour once more, and two maps
        return (
            texel * self.texture_pixels**2
            + 30 * self.preset.preview_size**2 * 3
            + 60 * self.preset.grid**2 * 6
            + 50_000_000
        )

    def plain(self) -> dict[str, object]:
        """As JSON, for `quality.json`; paths by name only."""
        return {key: value.name if isinstance(value, Path) else value for key, value in asdict(self).items()}
