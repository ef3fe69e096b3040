"""Between the latent of the structure and a grid that says which voxels the object fills.

Letters: B batch elements, C channels, R cells along a side of the latent; the grid has 4 R for three widths.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from meshwright.errors import OptionError
from meshwright.models.reconviagen.large.nets.precision import cast_matrices, matrix_dtype
from meshwright.models.reconviagen.large.nets.volumes import channels_to_cells

__all__ = ["StructureDecoder", "StructureEncoder", "occupied"]


class StructureDecoder(nn.Module):
    """A latent [B, latent_channels, R, R, R] as one number a voxel of a finer grid: above 0 the object fills it.

    Args:
        out_channels: Numbers a voxel.
        latent_channels: Channels of the latent.
        num_res_blocks: Residual blocks at each resolution.
        channels: Widths, from coarse to fine; the resolution doubles between two of them.
        num_res_blocks_middle: Residual blocks at the start.
        norm_type: Only "layer" is known.
        use_fp16: Weights of all but the first and the last convolution are kept in half precision.
    """

    def __init__(
        self,
        *,
        out_channels: int = 1,
        latent_channels: int = 8,
        num_res_blocks: int = 2,
        channels: Sequence[int] = (512, 128, 32),
        num_res_blocks_middle: int = 2,
        norm_type: str = "layer",
        use_fp16: bool = False,
    ) -> None:
        super().__init__()
        _check_norm(norm_type)
        self.input_layer = nn.Conv3d(latent_channels, channels[0], 3, padding=1)
        self.middle_block = nn.Sequential(*(_ResBlock(channels[0]) for _ in range(num_res_blocks_middle)))
        blocks: list[nn.Module] = []
        for width, finer in zip(channels, [*channels[1:], None], strict=True):
            blocks += [_ResBlock(width) for _ in range(num_res_blocks)]
            if finer is not None:
                blocks.append(_Finer(width, finer))
        self.blocks = nn.ModuleList(blocks)
        self.out_layer = _out_layer(channels[-1], out_channels)
        if use_fp16:
            self.cast_torso(torch.float16)

    def cast_torso(self, dtype: torch.dtype) -> None:
        """Changes what all but the first and the last convolution compute in."""
        cast_matrices(self.middle_block, dtype)
        cast_matrices(self.blocks, dtype)

    def forward(self, z: Tensor) -> Tensor:
        """[B, latent_channels, R, R, R] -> [B, out_channels, 4 R, 4 R, 4 R] for three widths, in the dtype of `z`."""
        x = self.input_layer(z).to(matrix_dtype(self.blocks))
        x = self.middle_block(x)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.out_layer(x.to(z.dtype))
        return logits


class StructureEncoder(nn.Module):
    """The other way round; a whole run does not need it, a given shape can be brought into the latent by it.

    Args:
        in_channels: Numbers a voxel.
        latent_channels: Channels of the latent.
        num_res_blocks: Residual blocks at each resolution.
        channels: Widths, from fine to coarse; the resolution halves between two of them.
        num_res_blocks_middle: Residual blocks at the end.
        norm_type: Only "layer" is known.
        use_fp16: Weights of all but the first and the last convolution are kept in half precision.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        latent_channels: int = 8,
        num_res_blocks: int = 2,
        channels: Sequence[int] = (32, 128, 512),
        num_res_blocks_middle: int = 2,
        norm_type: str = "layer",
        use_fp16: bool = False,
    ) -> None:
        super().__init__()
        _check_norm(norm_type)
        self.input_layer = nn.Conv3d(in_channels, channels[0], 3, padding=1)
        blocks: list[nn.Module] = []
        for width, coarser in zip(channels, [*channels[1:], None], strict=True):
            blocks += [_ResBlock(width) for _ in range(num_res_blocks)]
            if coarser is not None:
                blocks.append(_Coarser(width, coarser))
        self.blocks = nn.ModuleList(blocks)
        self.middle_block = nn.Sequential(*(_ResBlock(channels[-1]) for _ in range(num_res_blocks_middle)))
        self.out_layer = _out_layer(channels[-1], 2 * latent_channels)
        if use_fp16:
            self.cast_torso(torch.float16)

    def cast_torso(self, dtype: torch.dtype) -> None:
        """Changes what all but the first and the last convolution compute in."""
        cast_matrices(self.blocks, dtype)
        cast_matrices(self.middle_block, dtype)

    def forward(self, occupancy: Tensor) -> tuple[Tensor, Tensor]:
        """[B, in_channels, 4 R, 4 R, 4 R] -> mean and logarithm of the variance, each [B, latent_channels, R, R, R]."""
        x = self.input_layer(occupancy).to(matrix_dtype(self.blocks))
        for block in self.blocks:
            x = block(x)
        x = self.middle_block(x)
        mean, log_variance = self.out_layer(x.to(occupancy.dtype)).chunk(2, dim=1)
        return mean, log_variance


def occupied(logits: Tensor) -> Tensor:
    """Which voxels are filled: logits [B, 1, X, Y, Z] -> int32 [M, 4] of (batch element, x, y, z), in that order."""
    return torch.argwhere(logits[:, 0] > 0).to(torch.int32)


class _ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each voxel, [B, C, X, Y, Z], in float32."""

    def forward(self, x: Tensor) -> Tensor:
        last = x.movedim(1, -1).float()
        normed = functional.layer_norm(last, self.normalized_shape, self.weight.float(), self.bias.float(), self.eps)
        return normed.movedim(-1, 1).to(x.dtype)


class _ResBlock(nn.Module):
    """Two convolutions, each after norm and SiLU, added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = _ChannelNorm(channels)
        self.norm2 = _ChannelNorm(channels)
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)))
        y = self.conv2(functional.silu(self.norm2(y)))
        summed: Tensor = y + x
        return summed


class _Finer(nn.Module):
    """Twice as many cells a side: eight times the channels, which become cells."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, out_channels * 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return channels_to_cells(self.conv(x), 2)


class _Coarser(nn.Module):
    """Half as many cells a side."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, out_channels, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


def _out_layer(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(_ChannelNorm(channels), nn.SiLU(), nn.Conv3d(channels, out_channels, 3, padding=1))


def _check_norm(norm_type: str) -> None:
    if norm_type != "layer":
        raise OptionError(f"norm_type={norm_type!r} is not known here.", hint="Use 'layer'.")
