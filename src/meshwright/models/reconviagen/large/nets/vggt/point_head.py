"""VGGT's point head: a point and a confidence for every pixel, in the first camera's frame.

Letters: B objects, S views, H x W pixels, h x w patches, C channels.
Source: Ranftl et al. 2021, arXiv:2103.13413.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from meshwright.models.reconviagen.large.nets.vision_blocks import Norm

__all__ = ["PointHead"]

_SPECIAL = 5
"""Tokens of a view before its patches."""
_POSITION_SHARE = 0.1


class _ResidualUnit(nn.Module):
    """Two convolutions beside a skip that carries the rectified input, as the weights were trained with."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.relu()
        return self.conv2(self.conv1(x).relu()) + x


class _Fusion(nn.Module):
    """A coarse map with the map of the next finer layer."""

    def __init__(self, features: int, *, first: bool = False) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(features, features, 1)
        if not first:
            self.resConfUnit1 = _ResidualUnit(features)
        self.resConfUnit2 = _ResidualUnit(features)

    def forward(self, coarse: Tensor, finer: Tensor | None, size: tuple[int, int]) -> Tensor:
        x = coarse if finer is None else coarse + self.resConfUnit1(finer)
        x = functional.interpolate(self.resConfUnit2(x), size=size, mode="bilinear", align_corners=True)
        return self.out_conv(x)


class _Scratch(nn.Module):
    """Everything after the layers have their sizes; the name is the files'."""

    def __init__(self, features: int, channels: Sequence[int], output_dim: int) -> None:
        super().__init__()
        self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn = (
            nn.Conv2d(width, features, 3, padding=1, bias=False) for width in channels
        )
        self.refinenet1, self.refinenet2, self.refinenet3 = (_Fusion(features) for _ in range(3))
        self.refinenet4 = _Fusion(features, first=True)
        self.output_conv1 = nn.Conv2d(features, features // 2, 3, padding=1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(features // 2, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, output_dim, 1)
        )


class PointHead(nn.Module):
    """The aggregator's outputs to points.

    Args:
        dim_in: Channels of the aggregator's outputs.
        patch_size: Side of a patch, pixels.
        features: Channels where layers are fused.
        out_channels: Channels of the four layers before that.
        intermediate_layer_idx: Which outputs of the aggregator are read.
    """

    def __init__(
        self,
        *,
        dim_in: int = 2048,
        patch_size: int = 14,
        features: int = 256,
        out_channels: Sequence[int] = (256, 512, 1024, 1024),
        intermediate_layer_idx: Sequence[int] = (4, 11, 17, 23),
    ) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.layers = tuple(intermediate_layer_idx)
        self.norm = Norm(dim_in, eps=1e-5)
        self.projects = nn.ModuleList(nn.Conv2d(dim_in, width, 1) for width in out_channels)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(out_channels[0], out_channels[0], 4, stride=4),
                nn.ConvTranspose2d(out_channels[1], out_channels[1], 2, stride=2),
                nn.Identity(),
                nn.Conv2d(out_channels[3], out_channels[3], 3, stride=2, padding=1),
            ]
        )
        self.scratch = _Scratch(features, out_channels, 4)

    def forward(
        self, outputs: Mapping[int, Tensor], height: int, width: int, *, views_at_once: int = 8
    ) -> tuple[Tensor, Tensor]:
        """Points float32 [B, S, H, W, 3] and confidences (1 or more) float32 [B, S, H, W].

        Args:
            outputs: The aggregator's outputs that this head reads, float32 [B, S, 5 + h * w, C] each.
            height: H, pixels.
            width: W, pixels.
            views_at_once: Views that are worked on together; memory grows with it.
        """
        batch, views = next(iter(outputs.values())).shape[:2]
        layers = [outputs[index].flatten(0, 1) for index in self.layers]
        parts = [
            self._points([layer[begin : begin + views_at_once] for layer in layers], height, width)
            for begin in range(0, batch * views, views_at_once)
        ]
        y = torch.cat(parts).reshape(batch, views, height, width, -1)
        points, confidence = y[..., :3], y[..., 3]
        return points.sign() * points.abs().expm1(), 1 + confidence.exp()

    def _points(self, layers: Sequence[Tensor], height: int, width: int) -> Tensor:
        """Raw outputs of some views, float32 [S, H, W, 4]."""
        rows, columns = height // self.patch_size, width // self.patch_size
        maps = []
        for tokens, project, resize in zip(layers, self.projects, self.resize_layers, strict=True):
            x = self.norm(tokens[:, _SPECIAL:]).transpose(1, 2).unflatten(2, (rows, columns))
            maps.append(resize(_placed(project(x), height, width)))
        s = self.scratch
        one, two, three, four = (
            conv(x) for conv, x in zip((s.layer1_rn, s.layer2_rn, s.layer3_rn, s.layer4_rn), maps, strict=True)
        )
        x = s.refinenet4(four, None, _size(three))
        x = s.refinenet3(x, three, _size(two))
        x = s.refinenet2(x, two, _size(one))
        x = s.refinenet1(x, one, (2 * one.shape[-2], 2 * one.shape[-1]))
        x = functional.interpolate(s.output_conv1(x), size=(height, width), mode="bilinear", align_corners=True)
        return s.output_conv2(_placed(x, height, width)).permute(0, 2, 3, 1)


def _size(x: Tensor) -> tuple[int, int]:
    return int(x.shape[-2]), int(x.shape[-1])


def _placed(x: Tensor, height: int, width: int) -> Tensor:
    """Maps [S, C, h, w] with a little of their places added, for pictures of `height` x `width`."""
    channels, rows, columns = x.shape[1:]
    aspect = width / height
    long = (aspect**2 + 1) ** 0.5
    across = _waves(columns, aspect / long, channels // 4, x.device)
    down = _waves(rows, 1 / long, channels // 4, x.device)
    places = torch.cat([across[:, None].expand(-1, rows, -1), down[:, :, None].expand(-1, -1, columns)])
    return x + _POSITION_SHARE * places.to(x.dtype)


def _waves(count: int, span: float, pairs: int, device: torch.device) -> Tensor:
    """Sines, then cosines, of places along one side, float64 [2 * pairs, count]."""
    edge = span * (count - 1) / count
    places = torch.linspace(-edge, edge, count, device=device, dtype=torch.float64)
    speeds = 100.0 ** -(torch.arange(pairs, device=device, dtype=torch.float64) / pairs)
    angles = speeds[:, None] * places
    return torch.cat([angles.sin(), angles.cos()])
