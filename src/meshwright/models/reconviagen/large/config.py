"""How the large networks make an object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshwright.errors import OptionError
from meshwright.models.reconviagen.large.sampling import SamplerConfig

__all__ = ["GenerationConfig", "LatentScale"]

_WIDTH = 8
"""Channels of the published latent."""
_STRUCTURE = SamplerConfig(steps=30, cfg_strength=7.5, cfg_interval=(0.6, 1.0), guidance_rescale=0.7, rescale_t=5.0)
_DETAIL = SamplerConfig(steps=12, cfg_strength=7.5, cfg_interval=(0.6, 1.0), guidance_rescale=0.5, rescale_t=3.0)


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """Seed and samplers; the defaults are those of the published demonstration, not of the files beside the weights."""

    seed: int = 42
    """Of the noise that both samplers start from."""
    structure: SamplerConfig = _STRUCTURE
    """How the voxels that the object fills are found."""
    detail: SamplerConfig = _DETAIL
    """How the detail on them is found."""
    views_at_once: int = 8
    """Views that the encoders look at together; halved by itself where memory runs out. It changes no result."""
    gaussians: bool = False
    """Whether the object is decoded to gaussians too."""
    largest_voxels: int = 100_000
    """More filled voxels than this are noise, not an object, and would want more memory than there is."""

    def __post_init__(self) -> None:
        faults = []
        if not 0 <= self.seed < 2**63:
            faults.append(f"seed={self.seed} (use 0 to 2**63 - 1)")
        if self.views_at_once < 1:
            faults.append(f"views_at_once={self.views_at_once} (use 1 or more)")
        if self.largest_voxels < 1:
            faults.append(f"largest_voxels={self.largest_voxels} (use 1 or more)")
        if faults:
            raise OptionError("Options of the large networks out of range: " + "; ".join(faults) + ".")


@dataclass(frozen=True, kw_only=True)
class LatentScale:
    """Mean and spread of the latent's channels: samplers work on numbers of mean 0 and spread 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise OptionError(
                f"The latent's scale has {len(self.mean)} means and {len(self.std)} spreads.",
                hint="Use one mean and one spread above 0 for every channel.",
            )

    @classmethod
    def from_pipeline(cls, pipeline: Mapping[str, Any]) -> LatentScale:
        """From the `slat_normalization` of a published `pipeline.json`.

        Raises:
            OptionError: It has none.
        """
        said = pipeline.get("args", {}).get("slat_normalization")
        try:
            return cls(mean=tuple(map(float, said["mean"])), std=tuple(map(float, said["std"])))
        except (TypeError, KeyError, ValueError) as error:
            raise OptionError(
                "The pipeline has no `slat_normalization` with `mean` and `std`.",
                hint=f"The published one has {_WIDTH} of each.",
            ) from error
