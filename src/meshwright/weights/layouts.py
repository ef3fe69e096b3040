"""Which tensors each network of the large family has, and of which shapes: from the arguments that stand in its JSON.

A second statement of what the networks themselves say, kept apart from them: a file can be judged without building a
network, and without torch. Arguments that a JSON leaves out have their published values. The encoders of pictures come
without a JSON that gives their sizes; theirs are read from the file, which then has to agree with itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from meshwright.weights.headers import Shapes

__all__ = ["LAYOUTS", "expected_shapes"]

Arguments = Mapping[str, Any]


def expected_shapes(network: str, arguments: Arguments, found: Shapes) -> Shapes | None:
    """Name -> shape of what a network of the large family holds.

    Args:
        network: As the catalogue names it.
        arguments: What its JSON says.
        found: What its file holds; only looked at where the sizes do not stand in a JSON.
    Returns:
        None where the arguments describe a network that this knows nothing of.
    """
    layout = LAYOUTS.get(network)
    try:
        return None if layout is None else layout(arguments, found)
    except (KeyError, TypeError, ValueError, ZeroDivisionError, IndexError):
        return None


def _linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def _norm(name: str, channels: int) -> Shapes:
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def _conv(name: str, out: int, into: int, side: int = 3, dimensions: int = 3) -> Shapes:
    return {f"{name}.weight": (out, into, *[side] * dimensions), f"{name}.bias": (out,)}


def _sparse_conv(name: str, out: int, into: int, side: int = 3) -> Shapes:
    return {f"{name}.conv.weight": (out, side, side, side, into), f"{name}.conv.bias": (out,)}


def _mlp(name: str, channels: int, arguments: Arguments) -> Shapes:
    wide = int(channels * arguments.get("mlp_ratio", 4))
    return _linear(f"{name}.mlp.0", wide, channels) | _linear(f"{name}.mlp.2", channels, wide)


def _heads(arguments: Arguments, channels: int) -> int:
    per_head = arguments.get("num_head_channels")
    return int(arguments.get("num_heads") or channels // int(per_head or 64))


def _qk_norms(name: str, channels: int, heads: int) -> Shapes:
    return {f"{name}.{side}_rms_norm.gamma": (heads, channels // heads) for side in "qk"}


def _attentions(name: str, channels: int, context: int, arguments: Arguments) -> Shapes:
    """Self-attention, the norm before cross-attention, cross-attention and feed-forward of one block."""
    heads = _heads(arguments, channels)
    shapes = _norm(f"{name}.norm2", channels)
    shapes |= _linear(f"{name}.self_attn.to_qkv", 3 * channels, channels)
    shapes |= _linear(f"{name}.self_attn.to_out", channels, channels)
    shapes |= _linear(f"{name}.cross_attn.to_q", channels, channels)
    shapes |= _linear(f"{name}.cross_attn.to_kv", 2 * channels, context)
    shapes |= _linear(f"{name}.cross_attn.to_out", channels, channels)
    shapes |= _mlp(f"{name}.mlp", channels, arguments)
    if arguments.get("qk_rms_norm", True):
        shapes |= _qk_norms(f"{name}.self_attn", channels, heads)
    if arguments.get("qk_rms_norm_cross", False):
        shapes |= _qk_norms(f"{name}.cross_attn", channels, heads)
    return shapes


def _flow_blocks(arguments: Arguments, channels: int) -> Shapes:
    shapes = _linear("t_embedder.mlp.0", channels, 256) | _linear("t_embedder.mlp.2", channels, channels)
    for index in range(arguments.get("num_blocks", 24)):
        shapes |= _attentions(f"blocks.{index}", channels, arguments.get("cond_channels", 1024), arguments)
        shapes |= _linear(f"blocks.{index}.adaLN_modulation.1", 6 * channels, channels)
    return shapes


def _structure_flow(arguments: Arguments, found: Shapes) -> Shapes:
    del found
    channels = arguments.get("model_channels", 1024)
    patch = arguments.get("patch_size", 1)
    shapes = _flow_blocks(arguments, channels)
    shapes |= _linear("input_layer", channels, arguments.get("in_channels", 8) * patch**3)
    shapes |= _linear("out_layer", arguments.get("out_channels", 8) * patch**3, channels)
    if arguments.get("pe_mode", "ape") == "ape":
        shapes["pos_emb"] = ((arguments.get("resolution", 16) // patch) ** 3, channels)
    return shapes


def _latent_flow(arguments: Arguments, found: Shapes) -> Shapes | None:
    del found
    channels = arguments.get("model_channels", 1024)
    outside = arguments.get("io_block_channels", [128])
    if arguments.get("patch_size", 2) != 2 or len(outside) != 1:
        return None
    (narrow,) = outside
    repeats = arguments.get("num_io_res_blocks", 2)

    def residual(name: str, into: int, out: int) -> Shapes:
        shapes = _norm(f"{name}.norm1", into)
        shapes |= _sparse_conv(f"{name}.conv1", out, into) | _sparse_conv(f"{name}.conv2", out, out)
        shapes |= _linear(f"{name}.emb_layers.1", 2 * out, channels)
        return shapes | (_linear(f"{name}.skip_connection", out, into) if into != out else {})

    shapes = _flow_blocks(arguments, channels)
    shapes |= _linear("input_layer", narrow, arguments.get("in_channels", 8))
    shapes |= _linear("out_layer", arguments.get("out_channels", 8), narrow)
    for index in range(repeats):
        last = index == repeats - 1
        shapes |= residual(f"input_blocks.{index}", narrow, channels if last else narrow)
        shapes |= residual(f"out_blocks.{index}", 2 * (narrow if index else channels), narrow)
    return shapes


def _structure_decoder(arguments: Arguments, found: Shapes) -> Shapes:
    del found
    channels = arguments.get("channels", [512, 128, 32])

    def residual(name: str, width: int) -> Shapes:
        shapes = _norm(f"{name}.norm1", width) | _norm(f"{name}.norm2", width)
        return shapes | _conv(f"{name}.conv1", width, width) | _conv(f"{name}.conv2", width, width)

    shapes = _conv("input_layer", channels[0], arguments.get("latent_channels", 8))
    for index in range(arguments.get("num_res_blocks_middle", 2)):
        shapes |= residual(f"middle_block.{index}", channels[0])
    index = 0
    for level, width in enumerate(channels):
        for _ in range(arguments.get("num_res_blocks", 2)):
            shapes |= residual(f"blocks.{index}", width)
            index += 1
        if level + 1 < len(channels):
            shapes |= _conv(f"blocks.{index}.conv", 8 * channels[level + 1], width)
            index += 1
    return (
        shapes
        | _norm("out_layer.0", channels[-1])
        | _conv("out_layer.2", arguments.get("out_channels", 1), channels[-1])
    )


def _torso(arguments: Arguments) -> tuple[Shapes, int]:
    channels = arguments.get("model_channels", 768)
    shapes = _linear("input_layer", channels, arguments.get("latent_channels", 8))
    for index in range(arguments.get("num_blocks", 12)):
        name = f"blocks.{index}"
        shapes |= _linear(f"{name}.attn.to_qkv", 3 * channels, channels)
        shapes |= _linear(f"{name}.attn.to_out", channels, channels)
        shapes |= _mlp(f"{name}.mlp", channels, arguments)
        if arguments.get("qk_rms_norm", False):
            shapes |= _qk_norms(f"{name}.attn", channels, _heads(arguments, channels))
    return shapes, channels


def _mesh_decoder(arguments: Arguments, found: Shapes) -> Shapes:
    del found
    shapes, channels = _torso(arguments)
    widths = (channels, channels // 4, channels // 8)
    for index, (into, out) in enumerate(pairwise(widths)):
        name = f"upsample.{index}"
        shapes |= _norm(f"{name}.act_layers.0", into) | _norm(f"{name}.out_layers.1", out)
        shapes |= _sparse_conv(f"{name}.out_layers.0", out, into) | _sparse_conv(f"{name}.out_layers.3", out, out)
        shapes |= _sparse_conv(f"{name}.skip_connection", out, into, side=1)
    # Per cube: 8 values, 8 x 3 deformations, 21 weights, and 8 x 6 colours where there are any.
    coloured = (arguments.get("representation_config") or {}).get("use_color", True)
    return shapes | _linear("out_layer", 8 + 24 + 21 + (48 if coloured else 0), widths[-1])


def _gaussian_decoder(arguments: Arguments, found: Shapes) -> Shapes:
    del found
    shapes, channels = _torso(arguments)
    count = (arguments.get("representation_config") or {}).get("num_gaussians", 32)
    # Per Gaussian: offset 3, colour 3, scale 3, rotation 4, opacity 1.
    return shapes | _linear("out_layer", 14 * count, channels) | {"offset_perturbation": (count, 3)}


def _structure_condition(arguments: Arguments, found: Shapes) -> Shapes:
    del found
    channels = arguments.get("channels", 1024)
    shapes: Shapes = {"multiview_cond_tokens": (1, arguments.get("num_init_tokens", 4096), channels)}
    for index in range(4):
        shapes |= _attentions(f"cond_blocks.{index}", channels, arguments.get("ctx_channels", 3072), arguments)
    return shapes


def _latent_condition(arguments: Arguments, found: Shapes) -> Shapes:
    del found
    channels, context = arguments.get("channels", 1024), arguments.get("ctx_channels", 3072)
    shapes: Shapes = {}
    for index in range(4):
        shapes |= _linear(f"linear_blocks.{index}.0", channels, context)
    return shapes


def _depth(found: Shapes, stem: str) -> int:
    pattern = re.compile(re.escape(stem) + r"\.(\d+)\.")
    return 1 + max((int(match[1]) for name in found if (match := pattern.match(name))), default=-1)


def _transformer_block(name: str, channels: int, wide: int, head: int) -> Shapes:
    """A block of the picture encoders; `head` channels per head where queries and keys are normed, else 0."""
    shapes = _norm(f"{name}.norm1", channels) | _norm(f"{name}.norm2", channels)
    shapes |= _linear(f"{name}.attn.qkv", 3 * channels, channels) | _linear(f"{name}.attn.proj", channels, channels)
    shapes |= _linear(f"{name}.mlp.fc1", wide, channels) | _linear(f"{name}.mlp.fc2", channels, wide)
    shapes |= {f"{name}.ls1.gamma": (channels,), f"{name}.ls2.gamma": (channels,)}
    return shapes | (_norm(f"{name}.attn.q_norm", head) | _norm(f"{name}.attn.k_norm", head) if head else {})


def _vision(arguments: Arguments, found: Shapes, prefix: str = "") -> Shapes:
    del arguments
    channels = found[f"{prefix}cls_token"][-1]
    shapes: Shapes = {
        f"{prefix}cls_token": (1, 1, channels),
        f"{prefix}mask_token": (1, channels),
        f"{prefix}pos_embed": (1, found[f"{prefix}pos_embed"][1], channels),
        f"{prefix}register_tokens": (1, found[f"{prefix}register_tokens"][1], channels),
    }
    patch = found[f"{prefix}patch_embed.proj.weight"][-1]
    shapes |= _conv(f"{prefix}patch_embed.proj", channels, 3, patch, 2) | _norm(f"{prefix}norm", channels)
    for index in range(_depth(found, f"{prefix}blocks")):
        name = f"{prefix}blocks.{index}"
        shapes |= _transformer_block(name, channels, found[f"{name}.mlp.fc1.weight"][0], 0)
    return shapes


def _vggt(arguments: Arguments, found: Shapes) -> Shapes:
    """The aggregator; the heads that may stand beside it are not needed, and not looked at."""
    shapes = _vision(arguments, found, "aggregator.patch_embed.")
    channels = int(arguments.get("embed_dim", found["aggregator.patch_embed.cls_token"][-1]))
    registers = found["aggregator.register_token"][2]
    shapes["aggregator.camera_token"] = (1, 2, 1, channels)
    shapes["aggregator.register_token"] = (1, 2, registers, channels)
    head = found["aggregator.frame_blocks.0.attn.q_norm.weight"][0]
    for index in range(_depth(found, "aggregator.frame_blocks")):
        wide = found[f"aggregator.frame_blocks.{index}.mlp.fc1.weight"][0]
        for kind in ("frame_blocks", "global_blocks"):
            shapes |= _transformer_block(f"aggregator.{kind}.{index}", channels, wide, head)
    return shapes


LAYOUTS: dict[str, Callable[[Arguments, Shapes], Shapes | None]] = {
    "sparse_structure_flow_model": _structure_flow,
    "sparse_structure_decoder": _structure_decoder,
    "sparse_structure_vggt_cond": _structure_condition,
    "slat_flow_model": _latent_flow,
    "slat_vggt_cond": _latent_condition,
    "slat_decoder_mesh": _mesh_decoder,
    "slat_decoder_gs": _gaussian_decoder,
    "vggt": _vggt,
    "dinov2": _vision,
}
"""Network -> what gives its shapes from its arguments (and, where it has none, from its file)."""
