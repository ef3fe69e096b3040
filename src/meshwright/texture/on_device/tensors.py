"""Arrays on their way to a device."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from meshwright.types import Array

__all__ = ["sent"]


def sent(values: Array, device: str, kind: npt.DTypeLike = np.float32) -> torch.Tensor:
    """A tensor with the same numbers on the device; a copy, so that no tensor shares memory that may not be written."""
    # On its way to a GPU it is copied anyway, but only what may be written can go there as it is.
    as_it_is = device != "cpu" and values.flags.writeable
    given = np.ascontiguousarray(values, kind) if as_it_is else np.array(values, kind, order="C")
    return torch.from_numpy(given).to(device)
