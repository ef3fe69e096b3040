"""Whole-picture work done strip by strip: temporaries stay small, and the caller can stop in between.

Pictures of 4096 x 4096 take seconds for one filter. A filter that looks no further than `halo` rows gives the same
numbers on a strip with so many rows on both sides as on the whole.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshwright.device import check_stop

__all__ = ["strips"]

_ROWS = 256


def strips(height: int, halo: int = 0, rows: int = _ROWS) -> Iterator[tuple[slice, slice, slice]]:
    """Cut `height` rows; checks before each strip whether to go on.

    Yields:
        The strip's rows, the same with up to `halo` rows on both sides (cut at the picture's edges), and where the
        former lie in the latter.
    """
    for start in range(0, height, rows):
        check_stop()
        stop = min(start + rows, height)
        low, high = max(0, start - halo), min(height, stop + halo)
        yield slice(start, stop), slice(low, high), slice(start - low, stop - low)
