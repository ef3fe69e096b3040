"""Gradients that many pixels add to: of vertices, attributes and texels.

On a GPU, float sums depend on the order in which threads happen to come, so two runs differ in the last bits. In the
deterministic mode kernels run twice: first to find the largest number that is added, then to add 64-bit integers, whose
sum does not depend on any order. On a CPU each worker adds in a fixed order to sums of its own, so nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from meshwright._warp import wp
from meshwright.rendering.ops.launch import Argument, Band, Frame, plan
from meshwright.rendering.ops.warps import add_group

__all__ = ["Sum", "add", "add_up", "deterministic", "is_deterministic", "scatter"]

ADD = wp.constant(wp.int32(0))
FIND_PEAK = wp.constant(wp.int32(1))
ADD_FIXED = wp.constant(wp.int32(2))

PEAK_BITS = 36
"""The largest number added becomes an integer of so many bits: 2**26 of them may meet in one place."""

_deterministic: ContextVar[bool] = ContextVar("_deterministic", default=False)


@contextmanager
def deterministic(on: bool = True) -> Iterator[None]:
    """Ops called within this have gradients that are the same, bit by bit, in every run on the same machine.

    It is the forward call that counts; the backward pass may come later and in another thread. On a GPU backward
    passes take about twice as long; on a CPU they are always deterministic. `torch.use_deterministic_algorithms(True)`
    does the same for all ops.
    """
    token = _deterministic.set(on)
    try:
        yield
    finally:
        _deterministic.reset(token)


def is_deterministic() -> bool:
    """Whether ops called now promise equal gradients in every run."""
    return _deterministic.get() or torch.are_deterministic_algorithms_enabled()


@wp.struct
class Sum:
    """Where a kernel adds numbers up, and how."""

    total: wp.array[wp.float32]
    fixed: wp.array[wp.int64]
    measure: wp.array[wp.float64]  # [1]: the largest number so far, or the integers per unit
    mode: wp.int32


@wp.func  # type: ignore[untyped-decorator]
def add(to: Sum, index: wp.int32, value: wp.float32):  # type: ignore[no-untyped-def]
    """Add a number to one place of a sum."""
    if to.mode == ADD:
        wp.atomic_add(to.total, index, value)
    elif to.mode == FIND_PEAK:
        size = wp.abs(wp.float64(value))
        # Also catches NaN.
        if not size < wp.float64(1.0e300):
            size = wp.float64(1.0) / wp.float64(0.0)
        # Most numbers are no new peak, and reading is cheaper than all threads queueing for one place.
        if size > to.measure[0]:
            wp.atomic_max(to.measure, 0, size)
    else:
        wp.atomic_add(to.fixed, index, wp.int64(wp.rint(wp.float64(value) * to.measure[0])))


@wp.func  # type: ignore[untyped-decorator]
def add_up(  # type: ignore[no-untyped-def]
    to: Sum, index: wp.int32, value: wp.vec4, count: wp.int32, wide: wp.int32, key: wp.int32, group: wp.vec3i
):
    """Add `count` numbers to as many places in a row; `group` is that of `peers(key, ...)`, see `add_group`."""
    if to.mode == ADD:
        add_group(to.total, index, value, count, wide, group)
    elif key >= 0:
        for k in range(4):
            if k < count:
                add(to, index + k, value[k])


def scatter(
    run: Callable[[Callable[[Band | None], Argument]], None],
    frame: Frame,
    length: int,
    *,
    shared: bool,
    fixed_order: bool,
) -> torch.Tensor:
    """What a kernel adds up, float32 [length].

    Args:
        run: Launches the kernel over all pixels, with what it is given as `over_pixels(..., sums=...)`.
        frame: The pictures.
        length: Numbers in the sum.
        shared: Pixels of different views may add to the same number.
        fixed_order: Make the result independent of the order on a GPU too.
    """
    if frame.device.type == "cpu":
        groups = plan(frame)
        copies = len(groups) if shared else 1 + max(band.part for group in groups for band in group)
        totals = torch.zeros((copies, length), dtype=torch.float32)

        def own(band: Band | None) -> Argument:
            assert band is not None
            return totals[band.worker if shared else band.part], None, None, 0

        run(own)
        for other in totals[1:]:
            totals[0] += other
        return totals[0]
    if not fixed_order:
        total = torch.zeros(length, dtype=torch.float32, device=frame.device)
        run(lambda _: (total, None, None, 0))
        return total
    measure = torch.zeros(1, dtype=torch.float64, device=frame.device)
    fixed = torch.zeros(length, dtype=torch.int64, device=frame.device)
    run(lambda _: (None, None, measure, 1))
    peak = measure.clone()
    # A power of two, so that scaling does not round. An infinite peak gives 0 and in the end NaN.
    measure.copy_(torch.where(peak > 0, torch.exp2(PEAK_BITS - torch.ceil(torch.log2(peak))), 1.0))
    run(lambda _: (None, fixed, measure, 2))
    return torch.where(torch.isfinite(peak), fixed / measure, torch.nan).to(torch.float32)
