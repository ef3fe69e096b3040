"""Where a run gets its networks from, one at a time, and how each is put on the device."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from meshwright.errors import OptionError, WeightsNotInstalledError
from meshwright.models.reconviagen.large.config import LatentScale
from meshwright.models.reconviagen.large.loading import (
    Loaded,
    WeightsDamagedError,
    WeightsMismatchError,
    load_image_encoder,
    load_pair,
    load_vggt,
)
from meshwright.models.reconviagen.large.nets.vision_blocks import halve_matrices

__all__ = ["NAMES", "FileNetworks", "NetworkPlace", "Networks", "put"]

NAMES = (
    "dinov2",
    "vggt",
    "sparse_structure_vggt_cond",
    "slat_vggt_cond",
    "sparse_structure_flow_model",
    "sparse_structure_decoder",
    "slat_flow_model",
    "slat_decoder_mesh",
    "slat_decoder_gs",
)
"""Every network of a run, in the order of use; called as in the published pipeline, and after the encoders."""


class Networks(Protocol):
    """Loads networks by the names of `NAMES`; keeps none."""

    @property
    def latent_scale(self) -> LatentScale:
        """Mean and spread of the latent."""

    def load(self, name: str) -> Loaded:
        """The network, on the CPU, in the precision of its file."""


class NetworkPlace(Protocol):
    """Where one network lies: its weights, and the JSON with its arguments if it has one."""

    @property
    def weights(self) -> Path: ...

    @property
    def config(self) -> Path | None: ...


class FileNetworks:
    """Networks out of files.

    Args:
        places: Name of network -> its files.
        pipeline: The published `pipeline.json`.
    """

    def __init__(self, places: Mapping[str, NetworkPlace], pipeline: Path) -> None:
        self.places = dict(places)
        self.pipeline = pipeline

    @cached_property
    def latent_scale(self) -> LatentScale:
        name = self.pipeline.name
        if not self.pipeline.is_file():
            raise WeightsNotInstalledError(
                f"The file {name} of the large networks is not there.", hint="`meshwright weights fetch` gets it."
            )
        try:
            return LatentScale.from_pipeline(json.loads(self.pipeline.read_text(encoding="utf-8")))
        except (OSError, ValueError, AttributeError) as error:
            raise WeightsDamagedError(f"{name} is no JSON of a pipeline ({error}).") from error
        except OptionError as error:
            raise WeightsMismatchError(f"{name}: {error.message}", hint=error.hint) from error

    def load(self, name: str) -> Loaded:
        """The network `name`.

        Raises:
            WeightsNotInstalledError: No files are known for it, or they cannot be used (see `loading`).
        """
        if name not in self.places:
            raise WeightsNotInstalledError(
                f"No files of the network {name} are known.",
                hint=f"Known are {', '.join(self.places)}; `meshwright weights verify` looks at every file.",
            )
        place = self.places[name]
        if name == "dinov2":
            return load_image_encoder(place.weights)
        if name == "vggt":
            return load_vggt(place.weights, place.config)
        return load_pair(place.weights, place.config)


def put(network: nn.Module, name: str, device: str) -> str:
    """Moves a network to the device it runs on, in place, in the precision that it runs in there.

    On a GPU every network keeps the precision of its file, which is half for what takes long; but VGGT, published in
    single precision, multiplies matrices in half precision, as the released code runs it. On a CPU, where half
    precision is slow, all is single.

    Returns:
        The precision of its matrices, such as `float16`.
    """
    if device == "cpu":
        network.float()
        return "float32"
    if name == "vggt":
        half = torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
        halve_matrices(network, half, device)
    network.to(device)
    kinds = [p.dtype for p in network.parameters() if p.ndim > 1]
    return str(max(set(kinds), key=kinds.count)).removeprefix("torch.") if kinds else "float32"
