"""Checkpoint files to networks: as the released repositories hold them, in the precision that they are stored in.

Three kinds of files: a pair `X.json` (class and arguments) and `X.safetensors`; VGGT's `config.json` and
`model.safetensors`, of which one part is taken; and DINOv2's `.pth`, whose sizes are read off its tensors.
Loading is tolerant as the released code is: keys that are missing or too many are reported, not refused. A shape that
does not fit is refused, as is a file that has none of the keys, is cut short or is not there.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from meshwright.errors import MeshwrightError, WeightsNotInstalledError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "CLASSES",
    "Loaded",
    "WeightsDamagedError",
    "WeightsMismatchError",
    "build",
    "load_image_encoder",
    "load_pair",
    "load_vggt",
]

CLASSES = {
    "SparseStructureFlowModel": "structure_flow.StructureFlow",
    "SparseStructureDecoder": "structure_decoder.StructureDecoder",
    "SparseStructureEncoder": "structure_decoder.StructureEncoder",
    "SLatFlowModel": "latent_flow.LatentFlow",
    "SLatMeshDecoder": "mesh_decoder.LatentMeshDecoder",
    "SLatGaussianDecoder": "gaussian_decoder.LatentGaussianDecoder",
    "ModulatedMultiViewCond": "conditions.StructureCondition",
    "ModulatedSLATMultiViewCond": "conditions.LatentCondition",
}
"""Released class name to ours, below `nets`. A name with "Elastic" before it, as training has it, is the same class."""
_TRAINING_ONLY = ("use_checkpoint",)
"""Arguments that say how a network is trained, and nothing of what it computes."""
_VGGT_PARTS = {
    "aggregator": "vggt.aggregator.Aggregator",
    "camera_head": "vggt.camera_head.CameraHead",
    "point_head": "vggt.point_head.PointHead",
}
_HEAD = 64
"""Channels of a head in every published DINOv2."""
_HINT = "Fetch it anew with `meshwright weights fetch`; `meshwright weights verify` looks at every file."
_NETS = "meshwright.models.reconviagen.large.nets"

Tensors = Mapping[str, Callable[[], Tensor]]
Shapes = Mapping[str, tuple[int, ...]]


class WeightsDamagedError(WeightsNotInstalledError):
    """A file of weights cannot be read: cut short, or something else."""

    code = "weights.damaged"


class WeightsMismatchError(WeightsNotInstalledError):
    """A file of weights can be read, but does not hold the network it is said to hold."""

    code = "weights.mismatch"


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A network with its weights.

    Attributes:
        network: On the CPU, in evaluation mode, without gradients; parameters in the precision of the file.
        file: Name of the file of weights.
        missing: Keys that the network has and the file has not. They stand at neutral values: 1 for the gains of norms
            and layer scales, 0 for everything else; buffers at what the network works out itself.
        extra: Keys that the file has and the network has not.
    """

    network: nn.Module
    file: str
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _File:
    """What a file of weights holds: shapes at once, tensors when asked for."""

    name: str
    shapes: Shapes
    tensors: Tensors


def build(name: str, args: Mapping[str, Any], *, file: str = "") -> nn.Module:
    """A network by its released class name.

    Args:
        name: Such as `SLatFlowModel`.
        args: As the released JSON has them.
        file: Where they stand, for messages.
    Raises:
        WeightsMismatchError: There is no such class, or it does not take such arguments.
    """
    plain = name.removeprefix("Elastic")
    where = file or "The configuration"
    if plain not in CLASSES:
        raise WeightsMismatchError(
            f"{where} names the network {name!r}, which is not known.", hint=f"Known are {', '.join(CLASSES)}."
        )
    return _constructed(CLASSES[plain], {k: v for k, v in args.items() if k not in _TRAINING_ONLY}, where)


def load_pair(weights: Path, config: Path | None = None) -> Loaded:
    """The network of a pair of files.

    Args:
        weights: The `.safetensors` file.
        config: The JSON file with `name` and `args`; by default the one beside it.
    Raises:
        WeightsNotInstalledError: A file is not there.
        WeightsDamagedError: A file cannot be read.
        WeightsMismatchError: They hold something else; every wrong shape is named.
    """
    config = config or weights.with_suffix(".json")
    document = _document(config)
    if not isinstance(document.get("name"), str) or not isinstance(document.get("args"), dict):
        raise WeightsMismatchError(f"{config.name} does not say `name` and `args` of a network.", hint=_HINT)
    with _opened(weights) as file:
        return _loaded(lambda: build(document["name"], document["args"], file=config.name), file)


def load_vggt(weights: Path, config: Path | None = None, *, part: str = "aggregator") -> Loaded:
    """One part of VGGT: `aggregator`, `camera_head` or `point_head`; the file's other parts are not read.

    Sizes are read off the tensors, settings that no tensor shows (such as `rope_freq`) from `config` where it is given.

    Raises:
        WeightsNotInstalledError: A file is not there.
        WeightsDamagedError: A file cannot be read.
        WeightsMismatchError: They hold something else; every wrong shape is named.
    """
    said = {} if config is None else _document(config)
    with _opened(weights) as whole:
        prefix = f"{part}."
        file = _File(
            name=whole.name,
            shapes={k.removeprefix(prefix): v for k, v in whole.shapes.items() if k.startswith(prefix)},
            tensors={k.removeprefix(prefix): v for k, v in whole.tensors.items() if k.startswith(prefix)},
        )
        _require(file, bool(file.shapes), f"has no part {part!r}")
        args = {"aggregator": _aggregator_args, "camera_head": _camera_args, "point_head": _point_args}[part](
            file, said
        )
        return _loaded(lambda: _constructed(_VGGT_PARTS[part], args, whole.name), file)


def load_image_encoder(weights: Path) -> Loaded:
    """DINOv2 from its `.pth` (or a `.safetensors` with the same keys).

    Raises:
        WeightsNotInstalledError: The file is not there.
        WeightsDamagedError: It cannot be read.
        WeightsMismatchError: It holds something else; every wrong shape is named.
    """
    with _opened(weights) as file:
        args = _vision_args(file)
        return _loaded(lambda: _constructed("vision.VisionTransformer", args, file.name), file)


def _document(path: Path) -> dict[str, Any]:
    _there(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsDamagedError(f"{path.name} is no JSON ({error}).", hint=_HINT, file=path.name) from error
    if not isinstance(document, dict):
        raise WeightsDamagedError(f"{path.name} holds no JSON object.", hint=_HINT, file=path.name)
    return document


def _there(path: Path) -> None:
    if not path.is_file():
        raise WeightsNotInstalledError(
            f"The file {path.name} of the large networks is not there.", hint=_HINT, file=path.name
        )


@contextmanager
def _opened(path: Path) -> Iterator[_File]:
    """A file of weights, open as long as its tensors are read."""
    _there(path)
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as stored:
                keys = list(stored.keys())
                yield _File(
                    name=path.name,
                    shapes={key: tuple(stored.get_slice(key).get_shape()) for key in keys},
                    tensors={key: lambda key=key: stored.get_tensor(key) for key in keys},  # type: ignore[misc]
                )
        except (SafetensorError, OSError) as error:
            raise _damaged(path, error) from error
        return
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a broken pickle may raise anything
        raise _damaged(path, error) from error
    if not isinstance(stored, dict) or not all(isinstance(value, Tensor) for value in stored.values()):
        raise WeightsMismatchError(f"{path.name} is no table of tensors.", hint=_HINT, file=path.name)
    yield _File(
        name=path.name,
        shapes={key: tuple(value.shape) for key, value in stored.items()},
        tensors={key: lambda value=value: value for key, value in stored.items()},  # type: ignore[misc]
    )


def _damaged(path: Path, error: Exception) -> WeightsDamagedError:
    size = path.stat().st_size
    return WeightsDamagedError(
        f"{path.name} ({size:,} bytes) is cut short or no file of weights ({type(error).__name__}).",
        hint=_HINT,
        file=path.name,
    )


def _require(file: _File, good: bool, found: str) -> None:
    if not good:
        raise WeightsMismatchError(f"{file.name} {found}.", hint=_HINT, file=file.name)


def _constructed(path: str, args: Mapping[str, Any], where: str) -> nn.Module:
    """The class `path` below `nets`, made with `args`."""
    module, _, name = path.rpartition(".")
    kind = getattr(importlib.import_module(f"{_NETS}.{module}"), name)
    known = inspect.signature(kind).parameters
    unknown = [key for key in args if key not in known]
    needed = [key for key, value in known.items() if value.default is inspect.Parameter.empty and key not in args]
    faults = [f"unknown: {', '.join(unknown)}"] * bool(unknown) + [f"missing: {', '.join(needed)}"] * bool(needed)
    if faults:
        raise WeightsMismatchError(
            f"{where}: the arguments of the network do not fit ({'; '.join(faults)}).",
            hint=f"This version of meshwright knows {', '.join(known)}.",
        )
    try:
        network: nn.Module = kind(**args)
    except MeshwrightError as error:
        raise WeightsMismatchError(f"{where}: {error.message}", hint=error.hint) from error
    except (TypeError, ValueError, AttributeError, KeyError, ZeroDivisionError) as error:
        raise WeightsMismatchError(f"{where}: the arguments of the network make no sense ({error}).") from error
    return network


class _Hollow(TorchFunctionMode):
    """Within this, what parameters begin with is neither stored nor drawn: the file's tensors take the places.

    What networks work out (positions, say) is worked out as ever. `torch.device("meta")` would leave that out too, and
    spend seconds on importing what draws random numbers that nobody stores.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _BEGINNINGS and kwargs.get("device") is None:
            return _BEGINNINGS[func](*args, **kwargs | {"device": "meta"})
        return func(*args, **kwargs)


_BEGINNINGS: dict[Any, Any] = {
    torch.empty: torch.empty,
    torch.zeros: torch.zeros,
    torch.ones: torch.ones,
    torch.full: torch.full,
    torch.randn: torch.empty,
    torch.rand: torch.empty,
}


def _loaded(make: Callable[[], nn.Module], file: _File) -> Loaded:
    """A network with the tensors of a file."""
    with _Hollow():
        network = make()
    wanted = network.state_dict()
    held = {key: shape for key, shape in file.shapes.items() if key in wanted}
    _require(file, bool(held), f"has none of the {len(wanted)} tensors of the network")
    wrong = [
        f"{key} is {list(shape)}, not {list(wanted[key].shape)}"
        for key, shape in held.items()
        if shape != tuple(wanted[key].shape)
    ]
    if wrong:
        raise WeightsMismatchError(
            f"{file.name}: {len(wrong)} of {len(held)} tensors have another shape: {'; '.join(wrong)}.",
            hint=_HINT,
            file=file.name,
            wrong=wrong,
        )
    # Parameters that are shared by name would be read twice; there are none in these networks.
    network.load_state_dict({key: file.tensors[key]() for key in held}, strict=False, assign=True)
    missing = tuple(key for key in wanted if key not in held)
    _fill(network, make)
    network.eval().requires_grad_(False)
    return Loaded(
        network=network, file=file.name, missing=missing, extra=tuple(key for key in file.shapes if key not in wanted)
    )


def _fill(network: nn.Module, make: Callable[[], nn.Module]) -> None:
    """Gives what is still without values neutral ones, and buffers those that the network works out."""
    fresh: dict[str, Tensor] = {}
    for owner_name, owner in network.named_modules():
        for name, parameter in list(owner.named_parameters(recurse=False)):
            if parameter.is_meta:
                gain = name == "gamma" or (name == "weight" and isinstance(owner, nn.LayerNorm | nn.GroupNorm))
                values = torch.full(parameter.shape, float(gain), dtype=parameter.dtype)
                setattr(owner, name, nn.Parameter(values, requires_grad=False))
        for name, buffer in list(owner.named_buffers(recurse=False)):
            if buffer.is_meta:
                if not fresh:
                    fresh = dict(make().named_buffers())
                owner._buffers[name] = fresh[f"{owner_name}.{name}".removeprefix(".")]


def _depth(file: _File, blocks: str) -> int:
    """How many blocks a file has, `blocks` being what stands before their numbers."""
    pattern = re.compile(re.escape(blocks) + r"\.(\d+)\.")
    numbers = {int(found[1]) for key in file.shapes if (found := pattern.match(key))}
    _require(file, bool(numbers), f"has no {blocks}.0")
    return max(numbers) + 1


def _shape(file: _File, key: str, dimensions: int) -> tuple[int, ...]:
    shape = file.shapes.get(key)
    _require(file, shape is not None, f"has no {key}")
    assert shape is not None
    _require(file, len(shape) == dimensions, f"has {key} with {len(shape)} dimensions instead of {dimensions}")
    return shape


def _vision_args(file: _File, prefix: str = "") -> dict[str, Any]:
    """Arguments of a `VisionTransformer`, read off its tensors."""
    dim, _, patch, _ = _shape(file, f"{prefix}patch_embed.proj.weight", 4)
    places = _shape(file, f"{prefix}pos_embed", 3)[1] - 1
    hidden = _shape(file, f"{prefix}blocks.0.mlp.fc1.weight", 2)[0]
    side = round(max(places, 0) ** 0.5)
    _require(file, side * side == places and dim % _HEAD == 0, f"has {places} places of {dim} channels")
    return {
        "img_size": side * patch,
        "patch_size": patch,
        "embed_dim": dim,
        "depth": _depth(file, f"{prefix}blocks"),
        "num_heads": dim // _HEAD,
        "mlp_ratio": hidden / dim,
        "num_register_tokens": _shape(file, f"{prefix}register_tokens", 3)[1],
    }


def _aggregator_args(file: _File, said: Mapping[str, Any]) -> dict[str, Any]:
    inner = _vision_args(file, "patch_embed.")
    dim = _shape(file, "camera_token", 4)[3]
    head = file.shapes.get("frame_blocks.0.attn.q_norm.weight", (_HEAD,))[0]
    args = {
        "img_size": inner["img_size"],
        "patch_size": inner["patch_size"],
        "embed_dim": dim,
        "depth": _depth(file, "frame_blocks"),
        "num_heads": max(dim // head, 1),
        "mlp_ratio": _shape(file, "frame_blocks.0.mlp.fc1.weight", 2)[0] / dim,
        "num_register_tokens": _shape(file, "register_token", 4)[2],
        "qk_norm": "frame_blocks.0.attn.q_norm.weight" in file.shapes,
        "patch_embed": inner,
    }
    return args | {key: said[key] for key in ("rope_freq",) if key in said}


def _camera_args(file: _File, said: Mapping[str, Any]) -> dict[str, Any]:
    del said
    dim = _shape(file, "token_norm.weight", 1)[0]
    ratio = _shape(file, "trunk.0.mlp.fc1.weight", 2)[0] / dim
    return {"dim_in": dim, "trunk_depth": _depth(file, "trunk"), "mlp_ratio": ratio}


def _point_args(file: _File, said: Mapping[str, Any]) -> dict[str, Any]:
    widths = [_shape(file, f"projects.{i}.weight", 4)[0] for i in range(4)]
    args: dict[str, Any] = {
        "dim_in": _shape(file, "norm.weight", 1)[0],
        "features": _shape(file, "scratch.layer1_rn.weight", 4)[0],
        "out_channels": widths,
    }
    return args | {key: said[key] for key in ("patch_size", "intermediate_layer_idx") if key in said}
