"""What can be chosen about the texture."""

from __future__ import annotations

from dataclasses import dataclass

from meshwright.errors import OptionError

__all__ = ["TextureConfig"]


@dataclass(frozen=True, kw_only=True)
class TextureConfig:
    """How colours come from the views onto the mesh."""

    size: int = 2048
    """Side of the texture in texels; that of the atlas's padding."""
    erode: float = 1.0
    """Pixels next to a silhouette that are never used."""
    ramp: float = 0.001
    """Share of the picture's width over which trust then rises to full."""
    change: float = 0.006
    """Half-width of the change from one view's detail to the next one's, as a share of the object's extent."""
    coarse: float = 0.025
    """Structures wider than this share of the extent are blended between all views that see them."""
    average: float = 0.0
    """How much of the detail is averaged over all views that see a place, by how squarely they see it; the rest comes
    from one view per region. 0 is crispest, 1 is closest to all pictures at once but doubles what they disagree on."""
    match_exposure: bool = False
    """Whether to even out differences in brightness and white balance between the views."""
    stiff: float = 0.3
    """How much of the blend's own pattern is kept where the fit to the views changes its colours."""
    hold: float = 0.005
    """Pull of the blend on each texel, against 1 for each pixel."""
    doubt: float = 0.3
    """Difference from the texture, in sRGB, that halves a pixel's say."""

    def __post_init__(self) -> None:
        faults = []
        if not 16 <= self.size <= 16384:
            faults.append(f"size={self.size} (use 16 to 16384)")
        for name, most in (
            ("erode", 1000),
            ("ramp", 1),
            ("change", 1),
            ("coarse", 1),
            ("average", 1),
            ("stiff", 1000),
            ("hold", 1000),
            ("doubt", 1000),
        ):
            least = 1e-6 if name in ("hold", "doubt") else 0
            if not least <= getattr(self, name) <= most:
                faults.append(f"{name}={getattr(self, name)} (use {least} to {most})")
        if faults:
            raise OptionError("Texture options out of range: " + "; ".join(faults) + ".")
