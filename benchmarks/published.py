"""The large networks as they were published: classes, arguments, counts, keys, shapes and precisions.

Arguments and counts are those of SPEC.md 1.3, keys those of `state_dict_keys.md`; neither file is part of meshwright.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

__all__ = ["ENCODERS", "NETWORKS", "Entry", "published_keys", "tensors_of"]

NETWORKS: dict[str, tuple[str, dict[str, Any], int]] = {
    "ss_flow_img_dit_L_16l8_fp16": (
        "SparseStructureFlowModel",
        {
            "resolution": 16,
            "in_channels": 8,
            "out_channels": 8,
            "model_channels": 1024,
            "cond_channels": 1024,
            "num_blocks": 24,
            "num_heads": 16,
            "mlp_ratio": 4,
            "patch_size": 1,
            "pe_mode": "ape",
            "qk_rms_norm": True,
            "use_fp16": True,
        },
        555_543_560,
    ),
    "slat_flow_img_dit_L_64l8p2_fp16": (
        "ElasticSLatFlowModel",
        {
            "resolution": 64,
            "in_channels": 8,
            "out_channels": 8,
            "model_channels": 1024,
            "cond_channels": 1024,
            "num_blocks": 24,
            "num_heads": 16,
            "mlp_ratio": 4,
            "patch_size": 2,
            "num_io_res_blocks": 2,
            "io_block_channels": [128],
            "pe_mode": "ape",
            "qk_rms_norm": True,
            "use_fp16": True,
        },
        600_432_520,
    ),
    "ss_dec_conv3d_16l8_fp16": (
        "SparseStructureDecoder",
        {
            "out_channels": 1,
            "latent_channels": 8,
            "num_res_blocks": 2,
            "num_res_blocks_middle": 2,
            "channels": [512, 128, 32],
            "use_fp16": True,
        },
        73_671_201,
    ),
    "ss_enc_conv3d_16l8_fp16": (
        "SparseStructureEncoder",
        {
            "in_channels": 1,
            "latent_channels": 8,
            "num_res_blocks": 2,
            "num_res_blocks_middle": 2,
            "channels": [32, 128, 512],
            "use_fp16": True,
        },
        59_298_192,
    ),
    "slat_dec_gs_swin8_B_64l8gs32_fp16": (
        "SLatGaussianDecoder",
        {
            "resolution": 64,
            "model_channels": 768,
            "latent_channels": 8,
            "num_blocks": 12,
            "num_heads": 12,
            "mlp_ratio": 4,
            "attn_mode": "swin",
            "window_size": 8,
            "use_fp16": True,
            "representation_config": {
                "lr": {"_xyz": 1.0, "_features_dc": 1.0, "_opacity": 1.0, "_scaling": 1.0, "_rotation": 0.1},
                "perturb_offset": True,
                "voxel_size": 1.5,
                "num_gaussians": 32,
                "2d_filter_kernel_size": 0.1,
                "3d_filter_kernel_size": 0.0009,
                "scaling_bias": 0.004,
                "opacity_bias": 0.1,
                "scaling_activation": "softplus",
            },
        },
        85_369_024,
    ),
    "slat_dec_mesh_swin8_B_64l8m256c_fp16": (
        "SLatMeshDecoder",
        {
            "resolution": 64,
            "model_channels": 768,
            "latent_channels": 8,
            "num_blocks": 12,
            "num_heads": 12,
            "mlp_ratio": 4,
            "attn_mode": "swin",
            "window_size": 8,
            "use_fp16": True,
            "representation_config": {"use_color": True},
        },
        90_926_693,
    ),
    "ss_vggt_cond": (
        "ModulatedMultiViewCond",
        {
            "channels": 1024,
            "ctx_channels": 3072,
            "num_heads": 16,
            "mlp_ratio": 4,
            "attn_mode": "full",
            "qk_rms_norm": True,
            "qk_rms_norm_cross": False,
            "num_init_tokens": 4096,
            "use_fp16": True,
        },
        88_150_016,
    ),
    "slat_vggt_cond": (
        "ModulatedSLATMultiViewCond",
        {"channels": 1024, "ctx_channels": 3072, "use_fp16": False},
        12_587_008,
    ),
}
"""File stem -> released class name, its arguments, parameters (buffers left out)."""


ENCODERS: dict[str, tuple[str, str, int]] = {
    "vggt": ("VGGT aggregator", "aggregator.", 909_112_320),
    "vggt camera_head": ("VGGT camera_head", "camera_head.", 216_174_610),
    "vggt point_head": ("VGGT point_head", "point_head.", 32_654_628),
    "dinov2": ("dinov2_vitl14_reg", "", 304_372_736),
}
"""Network -> beginning of its heading in the list of keys, what stands before its keys there, parameters."""

Entry = tuple[tuple[int, ...], torch.dtype]
_DTYPES = {"f16": torch.float16, "f32": torch.float32}


def published_keys(file: Path, section: str) -> dict[str, Entry]:
    """Key -> shape and precision of the section of `state_dict_keys.md` whose heading begins so."""
    text = file.read_text(encoding="utf-8")
    body = next(part for part in re.split(r"^## ", text, flags=re.M) if part.startswith(section))
    found: dict[str, Entry] = {}
    for line in body.split("```")[1].strip().splitlines():
        match = re.fullmatch(r"(\S+)\s+\[([\d, ]*)\](?:\s+(f16|f32))?", line)
        assert match is not None, line
        pattern, shape, dtype = match.groups()
        for key in _expanded(pattern):
            assert key not in found, key
            found[key] = tuple(int(n) for n in shape.split(",")), _DTYPES[dtype or "f32"]
    if section.startswith("VGGT point_head"):  # a sentence below the list says so
        for number in (2, 3):
            for key in [key for key in found if ".refinenet1." in key]:
                found[key.replace("refinenet1", f"refinenet{number}")] = found[key]
    return found


def _expanded(pattern: str) -> list[str]:
    match = re.search(r"\{([^}]*)\}", pattern)
    if match is None:
        return [pattern]
    inside = match[1]
    if ".." in inside:
        first, last = (int(n) for n in inside.split(".."))
        numbers = list(range(first, last + 1))
    else:
        numbers = [int(n) for n in inside.split(",")]
    return [key for n in numbers for key in _expanded(pattern[: match.start()] + str(n) + pattern[match.end() :])]


def tensors_of(network: torch.nn.Module, prefix: str = "") -> dict[str, Entry]:
    """The same of a network of ours."""
    return {prefix + key: (tuple(value.shape), value.dtype) for key, value in network.state_dict().items()}
