"""Read and judge what the user gave: names, pixels, masks, depth; six-view folders, ZIPs, NeRF folders."""

from __future__ import annotations

from meshwright.inputs.config import InputConfig
from meshwright.inputs.preview import write_masks
from meshwright.inputs.read import read_inputs

__all__ = ["InputConfig", "read_inputs", "write_masks"]
