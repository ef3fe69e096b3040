"""The networks of the `mini` checkpoint: pictures to surfaces, surfaces to a volume, the volume made finer.

Letters: B objects, V views (six slots, in the order of `VIEW_NAMES`), H pictures' side, N cells along a side.
Three steps, each supervised by itself in training:

1. `ViewNet` looks at every view, and at where the outlines of all others put the surface at the earliest, and says how
   far away and how inclined the surface is at each pixel; of what else it saw it hands features on.
2. `CoarseNet` takes what all views say of each cell of a coarse grid and predicts a signed distance there.
3. `FineNet` makes the grid twice as fine, where outlines count most.

Signed distances are negative inside. Normalisation is by groups of channels of one object: with batch statistics what
an object is said to be depended on the others in its batch, and hundredths of its size were lost in that.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import nn

__all__ = [
    "COARSE_LIMIT",
    "FINE_LIMIT",
    "PICTURE_CHANNELS",
    "SURFACE_CHANNELS",
    "CoarseNet",
    "FineNet",
    "NetConfig",
    "ViewNet",
    "halved",
]

VIEWS = 6
PICTURE_CHANNELS = 10
"""Mask, three colours, depth, whether it is known, blurred mask, the hull's front, its thickness, whether it is met."""
SURFACE_CHANNELS = 5
"""What a view says of its surface: depth, how sure, normal."""
FEATURES = 6
"""What else it hands on."""
CELL_CHANNELS = 11 + FEATURES
"""Three blurs of a view's mask, signed distance to its surface, how sure that is, normal, three colours, features."""
SHARED_CHANNELS = 9
"""Least of the three blurs over the views, mean of one, share of slots with a view, where the cell lies, the start."""
FINE_CHANNELS = 3
"""Least of two blurs of the masks over the views, and the start."""
_GROUPS = 8
COARSE_LIMIT, FINE_LIMIT = 0.09, 0.04
"""Signed distances are cut off here, in lengths of the object; predictions are in these units."""


@dataclass(frozen=True, kw_only=True)
class NetConfig:
    """Widths of the three networks, of the coarse one from fine to coarse cells; saved with the weights."""

    view: int = 32
    coarse: tuple[int, ...] = (32, 80, 160, 256)
    fine: int = 48


class _GroupNorm(nn.GroupNorm):
    """Group normalisation that keeps the layout with channels last, and half precision where it finds it.

    Torch's own does so on a CPU. On a GPU it would turn a volume's layout over, and hand on four bytes for two.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) if x.device.type == "cpu" else self.folded(x)

    def folded(self, x: torch.Tensor) -> torch.Tensor:
        """The same as one product and one sum for each channel."""
        shape = (*x.shape[:2], *[1] * (x.dim() - 2))
        with torch.autocast(x.device.type, enabled=False):
            width = self.num_channels // self.num_groups
            groups = x.view(len(x), self.num_groups, width, *x.shape[2:])
            rest = tuple(range(2, groups.dim()))
            count = groups[0, 0].numel()
            mean = groups.mean(rest, dtype=torch.float32)
            power = torch.linalg.vector_norm(groups, dim=rest, dtype=torch.float32).square() / count
            slope = torch.rsqrt((power - mean.square()).clamp(min=0) + self.eps)
            scale = self.weight * slope.repeat_interleave(width, 1)
            shift = self.bias - scale * mean.repeat_interleave(width, 1)
            return x * scale.view(shape).to(x.dtype) + shift.view(shape).to(x.dtype)


class _Conv(nn.Module):
    """Convolution, group normalisation, ReLU; without bias, which the normalisation has."""

    def __init__(self, inputs: int, outputs: int, *, dims: int) -> None:
        super().__init__()
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        self.conv = conv(inputs, outputs, 3, padding=1, bias=False)
        self.norm = _GroupNorm(_GROUPS, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = functional.relu(self.norm(self.conv(x)), inplace=True)
        return y


class _Block(nn.Module):
    """Two convolutions and a way around the second."""

    def __init__(self, inputs: int, outputs: int, *, dims: int) -> None:
        super().__init__()
        self.first = _Conv(inputs, outputs, dims=dims)
        self.second = _Conv(outputs, outputs, dims=dims)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        y: torch.Tensor = x + self.second(x)
        return y


class _UNet(nn.Module):
    """Down by halves, up again, with links across; `widths` from fine to coarse."""

    def __init__(self, inputs: int, widths: tuple[int, ...], *, dims: int) -> None:
        super().__init__()
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        self.down = nn.ModuleList(_Block(a, b, dims=dims) for a, b in zip((inputs, *widths[:-1]), widths, strict=True))
        upward = list(zip(widths[-2::-1], widths[:0:-1], strict=True))
        self.narrow = nn.ModuleList(conv(b, a, 1) for a, b in upward)
        self.up = nn.ModuleList(_Block(2 * a, a, dims=dims) for a, _ in upward)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        links = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else halved(x))
            links.append(x)
        links.pop()
        for narrow, block in zip(self.narrow, self.up, strict=True):
            x = block(torch.cat([links.pop(), doubled(narrow(x))], 1))
        return x


def halved(x: torch.Tensor) -> torch.Tensor:
    """Mean over blocks of two cells a side. Torch's own pooling would give up the layout with channels last."""
    if x.dim() == 4:
        return functional.avg_pool2d(x, 2)
    b, c, i, j, k = x.shape
    x = x.permute(0, 2, 3, 4, 1).reshape(b, i // 2, 2, j // 2, 2, k // 2, 2, c).mean((2, 4, 6))
    return x.permute(0, 4, 1, 2, 3)


def doubled(x: torch.Tensor) -> torch.Tensor:
    """Every cell twice along each side; keeps the layout with channels last, too."""
    if x.dim() == 4:
        return functional.interpolate(x, scale_factor=2, mode="nearest")
    b, c, i, j, k = x.shape
    x = x.permute(0, 2, 3, 4, 1)[:, :, None, :, None, :, None].expand(b, i, 2, j, 2, k, 2, c)
    return x.reshape(b, 2 * i, 2 * j, 2 * k, c).permute(0, 4, 1, 2, 3)


def unfolded(x: torch.Tensor) -> torch.Tensor:
    """Eight parts of each cell [B, 8, N, N, N] as a grid of twice as many cells a side [B, 2N, 2N, 2N]."""
    b, _, i, j, k = x.shape
    return x.view(b, 2, 2, 2, i, j, k).permute(0, 4, 1, 5, 2, 6, 3).reshape(b, 2 * i, 2 * j, 2 * k)


class ViewNet(nn.Module):
    """A picture of [PICTURE_CHANNELS, H, H] to its surface and features [SURFACE_CHANNELS + FEATURES, H, H].

    Out: what is to be added to the depth that is known, or else to that of the hull's front; log of its likely error;
    normal in camera axes, not normalised; features. The slot says from which side the picture was taken, and so where
    its light likely comes from.
    """

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        w = config.view
        self.slot = nn.Parameter(torch.zeros(VIEWS, w, 1, 1))
        self.enter = nn.Conv2d(PICTURE_CHANNELS, w, 3, padding=1)
        self.body = _UNet(w, (w, 2 * w, 4 * w, 6 * w, 8 * w), dims=2)
        self.out = nn.Conv2d(w, SURFACE_CHANNELS + FEATURES, 1)
        # At first: as far away as the hull, with doubt, and facing the camera.
        with torch.no_grad():
            self.out.weight[:SURFACE_CHANNELS] = 0
            self.out.bias[:SURFACE_CHANNELS] = torch.tensor([0.0, -3.0, 0.0, 0.0, 1.0])  # type: ignore[index]

    def forward(self, pictures: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        """Pictures [M, C, H, H], taken from the sides `slots` [M]."""
        x: torch.Tensor = functional.relu(self.enter(pictures) + self.slot[slots])
        y: torch.Tensor = self.out(self.body(x))
        return y.float()


class CoarseNet(nn.Module):
    """Cells [B, C, N, N, N] to what the start lacks there [B, 1, N, N, N], and the features it was read from.

    In lengths of the object over COARSE_LIMIT.
    """

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.body = _UNet(VIEWS * CELL_CHANNELS + SHARED_CHANNELS, config.coarse, dims=3)
        self.out = _silent(nn.Conv3d(config.coarse[0], 1, 1))

    def forward(self, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.body(cells)
        return self.out(x).float(), x


class FineNet(nn.Module):
    """Coarse features and what is known within each cell to what the start lacks in its eight parts, in FINE_LIMITs.

    It works on coarse cells, with the eight parts as channels: eight times fewer places to compute at than on the fine
    grid itself, and on a GPU four times as fast.
    """

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        w = config.fine
        self.first = _Conv(config.coarse[0] + 8 * FINE_CHANNELS, w, dims=3)
        self.second = _Conv(w, w, dims=3)
        self.out = _silent(nn.Conv3d(w, 8, 1))

    def forward(self, features: torch.Tensor, within: torch.Tensor) -> torch.Tensor:
        """From coarse features and what is known within the cells [B, 8 FINE_CHANNELS, N, N, N]: [B, 8, N, N, N]."""
        x = self.first(torch.cat([features, within.to(features.dtype)], 1))
        x = x + self.second(x)
        y: torch.Tensor = self.out(x)
        return y.float()


def _silent(layer: nn.Conv3d) -> nn.Conv3d:
    """The layer, saying nothing at first: learning starts from what is put in, not from noise."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
