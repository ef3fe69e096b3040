"""For tests on a GPU: whether the host waits for the device."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["never_waiting"]


@contextmanager
def never_waiting() -> Iterator[None]:
    """Within this, whatever makes the host wait is an error."""
    torch.cuda.synchronize()
    # torch sets the mode, then warns that it does not see everything. As an error that would leave it set.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Synchronization debug mode")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
