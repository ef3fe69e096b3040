"""Where checkpoints lie, and how one becomes networks on a device."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from meshwright.errors import WeightsNotInstalledError

if TYPE_CHECKING:
    from meshwright.models.reconviagen.lifting import Prior

__all__ = ["Checkpoint", "describe_checkpoint", "load_checkpoint", "packaged"]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Networks ready to use, and what they are.

    Attributes:
        prior: In evaluation mode, on its device.
        family: Such as `mini`.
        about: What training wrote beside the weights: seed, data version, objects seen.
    """

    prior: Prior
    family: str
    about: dict[str, str]


def packaged() -> Path:
    """The checkpoint that comes with meshwright."""
    return Path(__file__).with_name("checkpoints") / "mini.safetensors"


def describe_checkpoint(path: Path) -> dict[str, str]:
    """What training wrote beside the weights of `path`; the weights themselves are not read.

    Raises:
        WeightsNotInstalledError: The file is not there, or holds no networks.
    """
    if not path.is_file():
        raise WeightsNotInstalledError(
            f"The checkpoint {path.name} of the model reconviagen is not there.",
            hint="Install meshwright again, or use --model hull or --model nvdiffrec, which need no weights.",
            model="reconviagen",
            instead=["hull", "nvdiffrec"],
        )
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            about = dict(file.metadata() or {})
        if "config" not in about:
            raise ValueError("no configuration")
    except (SafetensorError, ValueError) as error:
        raise _other_networks(path, error) from error
    return about


def load_checkpoint(path: Path, device: str) -> Checkpoint:
    """Networks with the weights of `path`, in single precision.

    Raises:
        WeightsNotInstalledError: The file is not there, or holds other networks.
    """
    about = describe_checkpoint(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from meshwright.models.reconviagen.lifting import Prior
    from meshwright.models.reconviagen.network import NetConfig

    try:
        weights = {name: value.float() for name, value in load_file(path).items()}
        config = json.loads(about["config"])
        prior = Prior(NetConfig(**config | {"coarse": tuple(config["coarse"])}), grid=int(about["grid"]))
        missing, unknown = prior.load_state_dict(weights, strict=False)
        faults = [*missing, *unknown]
        if faults:
            raise ValueError(f"{len(faults)} weights do not fit, such as {faults[0]}")
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise _other_networks(path, error) from error
    prior.to(device).eval().requires_grad_(False)
    return Checkpoint(prior=prior, family=about.get("family", "mini"), about=about)


def _other_networks(path: Path, error: Exception) -> WeightsNotInstalledError:
    return WeightsNotInstalledError(
        f"The checkpoint {path.name} does not hold the networks of this version of meshwright ({error}).",
        hint="Install meshwright again, or train the checkpoint anew (training/README.md).",
        model="reconviagen",
        instead=["hull", "nvdiffrec"],
    )
