"""What the user may say about the input, with limits that keep a hostile file from hurting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meshwright.errors import OptionError
from meshwright.types import VIEW_NAMES, DepthKind

__all__ = ["InputConfig"]

_UNITS = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "0.1mm": 1e-4, "um": 1e-6}

_PILLOW_PIXELS = 89_000_000
"""Pillow warns above 89,478,485 pixels; staying below keeps its opinion and ours the same."""


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """How input is read. The defaults take what the contract describes."""

    depth_kind: DepthKind = DepthKind.AUTO
    """What the numbers of the depth renders mean. AUTO: 16-bit is taken as metric unless every view is stretched to
    the full range, 8-bit is left for calibration to find out."""
    depth_unit: str | float | None = None
    """Length of one code of a metric depth file: `m`, `cm`, `mm`, `0.1mm`, `um`, or a number in object units."""
    max_file_mb: float = 20.0
    """Largest single file."""
    max_total_mb: float = 200.0
    """Largest sum of six views and six depth renders."""
    max_set_mb: float = 2000.0
    """Largest sum of a posed image set (NeRF format)."""
    max_pixels: int = 16_777_216
    """Largest width * height of one image (4096 * 4096): six decoded views of that size take about 3 GB."""
    cameras: Path | None = None
    """Camera JSON (NeRF-synthetic form) to use with six views instead of finding the cameras."""
    views: str | Sequence[str] | None = None
    """Which of the six named views there are, such as `front,left,top`, where not all of them are meant: exactly these
    are read, others left aside; depth renders may then be there for some of them only. Files whose names do not say a
    view are taken in this order. None: all six."""

    def __post_init__(self) -> None:
        """Refuse options that mean nothing or contradict each other."""
        for name in ("max_file_mb", "max_total_mb", "max_set_mb"):
            if not getattr(self, name) > 0:
                raise OptionError(f"{name}={getattr(self, name)} is not above 0.", hint="Give a size in megabytes.")
        if not 256 <= self.max_pixels <= _PILLOW_PIXELS:
            raise OptionError(f"max_pixels={self.max_pixels} is not between 256 and {_PILLOW_PIXELS}.")
        if self.views is not None:
            object.__setattr__(self, "views", _chosen(self.views, given_cameras=self.cameras is not None))
        length = self.depth_code_length
        if length is None:
            return
        if not (math.isfinite(length) and length > 0):
            raise OptionError(f"depth_unit={self.depth_unit} is not a length above 0.")
        if self.depth_kind not in (DepthKind.AUTO, DepthKind.METRIC):
            raise OptionError(
                f"depth_unit={self.depth_unit!r} contradicts depth_kind={self.depth_kind.value!r}.",
                hint="Only metric depth has a unit: leave one of the two out.",
            )

    @property
    def chosen_views(self) -> tuple[str, ...] | None:
        """The names in `views`, each once, in the order given; None where all six are meant."""
        return None if self.views is None else tuple(self.views)

    @property
    def depth_code_length(self) -> float | None:
        """Length of one code of a depth file, None where not given."""
        if self.depth_unit is None:
            return None
        if isinstance(self.depth_unit, str):
            if self.depth_unit in _UNITS:
                return _UNITS[self.depth_unit]
            try:
                return float(self.depth_unit)
            except ValueError:
                raise OptionError(
                    f"depth_unit={self.depth_unit!r} is not known.",
                    hint=f"Use one of {', '.join(_UNITS)}, or a number: the length of one code of the file.",
                ) from None
        return float(self.depth_unit)


_AXES = (("front", "back"), ("left", "right"), ("top", "bottom"))


def _chosen(views: str | Sequence[str], *, given_cameras: bool) -> tuple[str, ...]:
    """The names in `views`, checked; every fault is named at once."""
    names = [name.strip().lower() for name in (views.split(",") if isinstance(views, str) else views)]
    shown = ",".join(names)
    faults = [f"{name!r} is no view" for name in dict.fromkeys(names) if name not in VIEW_NAMES]
    faults += [f"{name!r} is named twice" for name in VIEW_NAMES if names.count(name) > 1]
    if faults:
        raise OptionError(
            f"views={shown!r}: {'; '.join(faults)}.",
            hint=f"Name some of {', '.join(VIEW_NAMES)}, separated by commas, as in front,left,top.",
        )
    if len(names) < 2:
        raise OptionError(
            f"views={shown!r}: one picture does not say how deep an object is.",
            hint="Give at least two views from sides that adjoin, such as front,left.",
        )
    if not given_cameras and any(set(names) <= set(pair) for pair in _AXES):
        raise OptionError(
            f"views={shown!r}: these two face each other and have one outline; nothing says how deep the object is.",
            hint="Add a view from another side, or give cameras (--cameras).",
        )
    return tuple(names)
