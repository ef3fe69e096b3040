"""Arrays on their way to a device."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from meshwright.types import Array

__all__ = ["sent"]


def sent(values: Array, device: str, kind: npt.DTypeLike = np.float32) -> torch.Tensor:
    """A tensor with the same numbers on the device; a copy, so that no tensor shares memory that may not be written."""
    return torch.from_numpy(np.array(values, kind, order="C")).to(device)
