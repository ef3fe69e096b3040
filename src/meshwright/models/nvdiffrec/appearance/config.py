"""How materials are stored in space, and within which bounds."""

from __future__ import annotations

from dataclasses import dataclass, field

from meshwright.errors import OptionError
from meshwright.rendering.ops.hashgrid.layout import HashGrid

__all__ = ["Bounds", "VolumeConfig"]

BACKENDS = ("warp", "tinycudann")
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What materials can be."""

    kd: tuple[float, float] = (0.0, 1.0)
    """Least and most base colour, linear."""
    occlusion: tuple[float, float] = (1.0, 1.0)
    """1 is open. Left free, it takes half of the dark for itself: no picture tells it from a darker base colour."""
    roughness: tuple[float, float] = (0.08, 1.0)
    metalness: tuple[float, float] = (0.0, 1.0)
    tilt: float = 0.5
    """How far normals may lean along each tangent, as a slope; 0 keeps those of the surface."""

    def __post_init__(self) -> None:
        pairs = {name: getattr(self, name) for name in ("kd", "occlusion", "roughness", "metalness")}
        faults = [f"{name}={pair}" for name, pair in pairs.items() if not 0 <= pair[0] <= pair[1] <= 1]
        if not 0 <= self.tilt <= 10:
            faults.append(f"tilt={self.tilt}")
        if faults:
            raise OptionError(
                f"Materials cannot have these bounds: {', '.join(faults)}.",
                hint="Each is a pair that rises within 0 to 1; the tilt is 0 to 10.",
            )


@dataclass(frozen=True, kw_only=True)
class VolumeConfig:
    """A hash grid and the small network that reads materials from it."""

    grid: HashGrid = field(default_factory=HashGrid)
    hidden: int = 32
    """Neurons of each hidden layer."""
    layers: int = 2
    """Hidden layers."""
    bounds: Bounds = field(default_factory=Bounds)
    precision: str = "auto"
    """Of the hidden layers: "float32", "bfloat16", or "auto": bfloat16 on CUDA, whose matrix units want it, float32 on
    a CPU. Features, weights and the last layer are float32 always."""
    backend: str = "warp"
    """"warp" is ours and runs everywhere; "tinycudann" needs that library and CUDA."""
    seed: int = 0
    """Of the first weights and features."""

    def __post_init__(self) -> None:
        faults = []
        if not 1 <= self.hidden <= 1024 or not 1 <= self.layers <= 8:
            faults.append(f"hidden={self.hidden}, layers={self.layers} is no small network")
        if self.precision not in PRECISIONS:
            faults.append(f"precision={self.precision!r} is not one of {', '.join(PRECISIONS)}")
        if self.backend not in BACKENDS:
            faults.append(f"backend={self.backend!r} is not one of {', '.join(BACKENDS)}")
        if faults:
            raise OptionError(f"There is no such volume: {'; '.join(faults)}.", hint="Use the defaults.")
