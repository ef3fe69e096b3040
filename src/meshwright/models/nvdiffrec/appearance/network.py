"""From places in the unit cube to numbers: a hash grid read by a small network."""

from __future__ import annotations

import importlib
import itertools
import math
from typing import Any

import torch
from torch.nn import functional

from meshwright.errors import DeviceError, OptionError
from meshwright.models.nvdiffrec.appearance.config import VolumeConfig
from meshwright.rendering.ops import hash_encode

__all__ = ["GridNetwork", "new_network"]


class GridNetwork(torch.nn.Module):
    """Our own: features from `hash_encode`, linear layers of torch without biases, ReLU between them."""

    def __init__(self, config: VolumeConfig, outputs: int, device: torch.device | str) -> None:
        super().__init__()
        self.grid = config.grid
        # On the CPU first, so that all devices begin with the same numbers.
        generator = torch.Generator().manual_seed(config.seed)
        self.table = torch.nn.Parameter(config.grid.new_table(device, generator))
        widths = [config.grid.width, *[config.hidden] * config.layers, outputs]
        self.weights = torch.nn.ParameterList()
        for before, after in itertools.pairwise(widths):
            reach = math.sqrt(6 / before)  # He et al. 2015, uniform
            weight = (torch.rand((after, before), generator=generator) * 2 - 1) * reach
            self.weights.append(torch.nn.Parameter(weight.to(device)))
        on_gpu = torch.device(device).type == "cuda"
        half = config.precision == "bfloat16" or (config.precision == "auto" and on_gpu)
        self.inner = torch.bfloat16 if half else torch.float32

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """Numbers float32 [P, outputs] at points float32 [P, 3] in the unit cube."""
        state = hash_encode(self.table, points, self.grid).to(self.inner)
        *hidden, last = self.weights
        for weight in hidden:
            state = functional.relu(functional.linear(state, weight.to(self.inner)))
        return functional.linear(state.float(), last)


class _TinyNetwork(torch.nn.Module):
    """tiny-cuda-nn's `NetworkWithInputEncoding`, whose results are float16."""

    def __init__(self, library: Any, config: VolumeConfig, outputs: int) -> None:
        super().__init__()
        grid = config.grid
        growth = (grid.finest / grid.coarsest) ** (1 / max(grid.levels - 1, 1))
        encoding = {
            "otype": "HashGrid",
            "n_levels": grid.levels,
            "n_features_per_level": grid.features,
            "log2_hashmap_size": grid.log2_size,
            "base_resolution": grid.coarsest,
            "per_level_scale": growth,
        }
        fused = config.hidden in (16, 32, 64, 128)
        network = {
            "otype": "FullyFusedMLP" if fused else "CutlassMLP",
            "activation": "ReLU",
            "output_activation": "None",
            "n_neurons": config.hidden,
            "n_hidden_layers": config.layers,
        }
        self.inner = library.NetworkWithInputEncoding(3, outputs, encoding, network, seed=config.seed)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.inner(points.clamp(0, 1)).float()
        return result


def new_network(config: VolumeConfig, outputs: int, device: torch.device | str) -> torch.nn.Module:
    """The network of a configuration's backend, [P, 3] in the unit cube to float32 [P, outputs].

    Raises:
        OptionError: tiny-cuda-nn was asked for and is not installed.
        DeviceError: It was asked for on a device that it does not run on.
    """
    if config.backend == "warp":
        return GridNetwork(config, outputs, device)
    if torch.device(device).type != "cuda":
        raise DeviceError(
            f"backend='tinycudann' runs on CUDA only, the device is {device}.", hint="Use backend='warp' here."
        )
    try:
        library = importlib.import_module("tinycudann")
    except ImportError as error:
        raise OptionError(
            "backend='tinycudann' was asked for, but tinycudann cannot be imported.",
            hint="Install tiny-cuda-nn's torch bindings, or use backend='warp', which needs nothing else.",
        ) from error
    return _TinyNetwork(library, config, outputs)
