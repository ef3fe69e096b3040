"""How materials and light are fitted."""

from __future__ import annotations

from dataclasses import dataclass, replace

from meshwright.errors import OptionError

__all__ = ["LIGHTING", "LightingConfig", "lighting_of"]


@dataclass(frozen=True, kw_only=True)
class LightingConfig:
    """What is fitted, for how long, and what holds it back."""

    steps: int = 1000
    batch: int = 32_768
    """Pixels of all views compared in a step."""
    pixels: int = 1024
    """Long side of the pictures compared; smaller ones stay as they are."""
    most_samples: int = 4_000_000
    """So many pixels of all views are kept; of more, as many are drawn."""
    light: int = 32
    """Texels along an edge of the light."""
    texture: int = 1024
    """Most texels along a side of what is fitted; about one per pixel compared is used."""
    normals: bool = True
    """Whether a normal map is fitted too."""
    detail_from: float = 0.5
    """After this share of the steps roughness, metalness and normals get a texel each; before, vertices have them."""
    colour_rate: float = 0.015
    material_rate: float = 0.06
    detail_rate: float = 0.006
    light_rate: float = 0.12
    light_every: int = 4
    """The light moves after so many steps, by what they have gathered."""
    colour_smooth: float = 0.002
    """Weight of differences of base colour between neighbouring texels."""
    material_smooth: float = 0.02
    """Of those of roughness and metalness along the surface."""
    whiteness: float = 0.005
    plain: float = 0.001
    """Of metalness: what pictures do not tell is no metal."""
    upright: float = 0.01
    """Of how far the normal map leans."""
    seed: int = 0
    graphs: bool = True
    """On a GPU, steps are recorded once and replayed (see `meshwright.replay`); False starts every kernel anew."""

    def __post_init__(self) -> None:
        faults = [
            f"{name}={getattr(self, name)} (use 0 or more)"
            for name in (
                *("colour_rate", "material_rate", "detail_rate", "light_rate", "colour_smooth", "material_smooth"),
                *("whiteness", "plain", "upright"),
            )
            if not getattr(self, name) >= 0
        ]
        faults += [
            f"{name}={getattr(self, name)} (use 1 or more)"
            for name in ("steps", "batch", "light_every", "pixels", "most_samples", "texture")
            if not getattr(self, name) >= 1
        ]
        if faults:
            raise OptionError("Options of the light fit out of range: " + "; ".join(faults) + ".")


LIGHTING = {
    "draft": LightingConfig(steps=500, pixels=512, texture=512),
    "standard": LightingConfig(),
    "high": LightingConfig(steps=1500, batch=65_536, pixels=2048, most_samples=12_000_000, light=64, texture=4096),
}
"""By the name of the quality asked for."""

_MORE = 2.5
"""So many times the pixels are compared in a step on a GPU: kernels of a few microseconds leave it idle in between."""


def lighting_of(effort: str, device: str) -> LightingConfig:
    """How much is done: by the quality asked for and the kind of device."""
    config = LIGHTING[effort]
    return config if device == "cpu" else replace(config, batch=round(_MORE * config.batch))
