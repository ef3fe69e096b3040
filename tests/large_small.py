"""Small random networks in files laid out as the released repositories are; what they make is a closed lump."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from meshwright.models.reconviagen.large.loading import build
from meshwright.models.reconviagen.large.nets.vggt.aggregator import Aggregator
from meshwright.models.reconviagen.large.nets.vision import VisionTransformer

GENERATOR = "Stable-X/trellis-vggt-v0-2"
VGGT = "Stable-X/vggt-object-v0-1"
DINOV2 = "facebookresearch/dinov2"
SIDE = 28
"""Side of the pictures that these networks take."""
_TOKENS = 64
_FUSED = 3 * _TOKENS

_SHARED = {"latent_channels": 8, "num_blocks": 1, "num_heads": 4, "mlp_ratio": 1, "window_size": 4, "use_fp16": True}
_FLOW = {
    "in_channels": 8,
    "out_channels": 8,
    "model_channels": 48,
    "cond_channels": _TOKENS,
    "num_blocks": 1,
    "num_heads": 4,
    "mlp_ratio": 2,
    "pe_mode": "ape",
    "qk_rms_norm": True,
    "use_fp16": True,
}
NETWORKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "sparse_structure_flow_model": (
        "ss_flow_img_dit_L_16l8_fp16",
        "SparseStructureFlowModel",
        _FLOW | {"resolution": 2, "patch_size": 1},
    ),
    "sparse_structure_decoder": (
        "ss_dec_conv3d_16l8_fp16",
        "SparseStructureDecoder",
        {
            "latent_channels": 8,
            "channels": [16, 8, 8],
            "num_res_blocks": 1,
            "num_res_blocks_middle": 1,
            "use_fp16": True,
        },
    ),
    "sparse_structure_vggt_cond": (
        "ss_vggt_cond",
        "ModulatedMultiViewCond",
        {"channels": _TOKENS, "ctx_channels": _FUSED, "num_heads": 4, "num_init_tokens": 8, "use_fp16": True},
    ),
    "slat_flow_model": (
        "slat_flow_img_dit_L_64l8p2_fp16",
        "ElasticSLatFlowModel",
        _FLOW | {"resolution": 8, "patch_size": 2, "num_io_res_blocks": 2, "io_block_channels": [16]},
    ),
    "slat_vggt_cond": (
        "slat_vggt_cond",
        "ModulatedSLATMultiViewCond",
        {"channels": _TOKENS, "ctx_channels": _FUSED, "use_fp16": False},
    ),
    "slat_decoder_mesh": (
        "slat_dec_mesh_swin8_B_64l8m256c_fp16",
        "ElasticSLatMeshDecoder",
        _SHARED | {"resolution": 8, "model_channels": 256, "representation_config": {"use_color": True}},
    ),
    "slat_decoder_gs": (
        "slat_dec_gs_swin8_B_64l8gs32_fp16",
        "SLatGaussianDecoder",
        _SHARED
        | {
            "resolution": 8,
            "model_channels": 48,
            "representation_config": {
                "lr": {"_xyz": 1.0, "_features_dc": 1.0, "_opacity": 1.0, "_scaling": 1.0, "_rotation": 0.1},
                "perturb_offset": True,
                "voxel_size": 1.5,
                "num_gaussians": 4,
                "2d_filter_kernel_size": 0.1,
                "3d_filter_kernel_size": 0.0009,
                "scaling_bias": 0.004,
                "opacity_bias": 0.1,
                "scaling_activation": "softplus",
            },
        },
    ),
}
"""Name in the pipeline -> file stem, released class, small arguments."""


def small_store(folder: Path, seed: int = 0) -> Path:
    """Writes every file of the large family; returns the folder, which is a store that was copied by hand."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        checkpoints = folder / GENERATOR / "ckpts"
        checkpoints.mkdir(parents=True)
        for stem, kind, args in NETWORKS.values():
            network = _random(build(kind, args))
            if kind == "SparseStructureDecoder":
                # At the border a convolution sees fewer voxels: all are filled but those there.
                network.out_layer[0].weight.data.mul_(0.3)
                network.out_layer[0].bias.data.fill_(1.0)
                network.out_layer[2].weight.data.fill_(1 / 27)
                network.out_layer[2].bias.data.fill_(-8 * 0.73 * 22 / 27)
            if kind.endswith("MeshDecoder"):
                # Every cube that exists lies inside, and says so softly: the surface is that of the lump of voxels.
                network.out_layer.weight.data *= 0.1
                network.out_layer.bias.data[:8] = -0.1
            (checkpoints / f"{stem}.json").write_text(json.dumps({"name": kind, "args": args}))
            _save(network.state_dict(), checkpoints / f"{stem}.safetensors")
        (folder / GENERATOR / "pipeline.json").write_text(json.dumps(_pipeline()))

        vggt = _random(
            Aggregator(img_size=SIDE, embed_dim=_TOKENS, num_heads=2, patch_embed={"depth": 1, "num_heads": 1})
        )
        (folder / VGGT).mkdir(parents=True)
        (folder / VGGT / "config.json").write_text(
            json.dumps({"img_size": SIDE, "patch_size": 14, "embed_dim": _TOKENS})
        )
        parts = {f"aggregator.{key}": value for key, value in vggt.state_dict().items()}
        _save(parts | {"camera_head.empty_pose_tokens": torch.zeros(1, 1, 9)}, folder / VGGT / "model.safetensors")

        encoder = _random(VisionTransformer(img_size=SIDE, embed_dim=_TOKENS, depth=1, num_heads=1))
        (folder / DINOV2).mkdir(parents=True)
        torch.save(encoder.state_dict(), folder / DINOV2 / "dinov2_vitl14_reg4_pretrain.pth")
    return folder


def pictures(count: int) -> list[NDArray[np.uint8]]:
    """Discs with stripes, each of another size and place."""
    found = []
    for index in range(count):
        y, x = np.mgrid[:60, :80]
        picture = np.zeros((60, 80, 4), np.uint8)
        inside = (x - 40 - index) ** 2 + (y - 30) ** 2 < (15 + index) ** 2
        picture[..., 0] = 60 + 150 * ((x // 5) % 2)
        picture[..., 1] = 30 * index
        picture[..., 2] = y * 3
        picture[..., 3] = 255 * inside
        found.append(picture)
    return found


def _pipeline() -> dict[str, Any]:
    sampler = {
        "name": "FlowEulerGuidanceIntervalSampler",
        "args": {"sigma_min": 1e-5},
        "params": {"steps": 25, "cfg_strength": 5.0, "cfg_interval": [0.5, 1.0], "rescale_t": 3.0},
    }
    return {
        "name": "TrellisVGGTTo3DPipeline",
        "args": {
            "models": {name: f"ckpts/{stem}" for name, (stem, _, _) in NETWORKS.items()},
            "image_cond_model": "dinov2_vitl14_reg",
            "sparse_structure_sampler": sampler,
            "slat_sampler": sampler,
            "slat_normalization": {"mean": [0.1 * i for i in range(8)], "std": [1.0 + 0.1 * i for i in range(8)]},
        },
    }


def _random(network: nn.Module) -> nn.Module:
    """Tokens, positions and gains that begin at 0 or 1 are drawn too."""
    for name, parameter in network.named_parameters():
        if "token" in name or name.endswith("pos_embed"):
            parameter.data.copy_(torch.randn(parameter.shape) * 0.2)
        elif name.endswith("gamma"):
            parameter.data.copy_(1 + 0.1 * torch.randn(parameter.shape))
    return network


def _save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    save_file({key: value.clone().contiguous() for key, value in tensors.items()}, path)
