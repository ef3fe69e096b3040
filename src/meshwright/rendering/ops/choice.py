"""Which rasteriser fits run on: our own, or nvdiffrast where somebody has it and wants to compare.

`MESHWRIGHT_RASTERIZER=nvdiffrast` sends `rasterize`, `interpolate`, `texture` and `antialias` of everything that is
fitted to nvdiffrast (Laine et al. 2020), on a GPU. It is never needed, and its licence is not ours: research only.
There `antialias` has no `reach`, mipmaps are built anew in every look-up, and nothing can be recorded as a CUDA graph.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import torch

from meshwright.errors import OptionError

__all__ = ["VARIABLE", "is_nvdiffrast", "switched"]

VARIABLE = "MESHWRIGHT_RASTERIZER"
"""`meshwright` (or nothing), or `nvdiffrast`."""
_NAMES = ("meshwright", "nvdiffrast")

Arguments = ParamSpec("Arguments")
Found = TypeVar("Found")


def is_nvdiffrast() -> bool:
    """Whether nvdiffrast was asked for.

    Raises:
        OptionError: Something else was.
    """
    name = os.environ.get(VARIABLE) or _NAMES[0]
    if name not in _NAMES:
        raise OptionError(f"{VARIABLE}={name!r} is not known.", hint=f"Use {' or '.join(_NAMES)}.")
    return name == _NAMES[1]


def switched(own: Callable[Arguments, Found]) -> Callable[Arguments, Found]:
    """The operation itself, or nvdiffrast's of that name where it was asked for; arguments and results are ours."""

    @functools.wraps(own)
    def either(*arguments: Arguments.args, **options: Arguments.kwargs) -> Found:
        chosen: Callable[..., Found] = _THEIRS[own.__name__] if is_nvdiffrast() else own
        return chosen(*arguments, **options)

    return either


@functools.cache
def _nvdiffrast() -> Any:
    try:
        return importlib.import_module("nvdiffrast.torch")
    except ImportError as error:
        raise OptionError(
            f"{VARIABLE}=nvdiffrast, but it cannot be imported: {error}.",
            hint="Install it (its source is on PyPI as diffrp-nvdiffrast; it needs CUDA's compiler), or unset "
            f"{VARIABLE}.",
        ) from error


@functools.cache
def _context(device: torch.device) -> Any:
    return _nvdiffrast().RasterizeCudaContext(device=device)


def _check(tensor: torch.Tensor) -> None:
    if tensor.device.type != "cuda":
        raise OptionError(
            f"{VARIABLE}=nvdiffrast runs on a GPU only, and the tensors are on {tensor.device}.",
            hint=f"Use --device cuda, or unset {VARIABLE}.",
        )


def _rasterize(
    pos: torch.Tensor, tri: torch.Tensor, resolution: tuple[int, int], *, derivatives: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    _check(pos)
    pos = pos[None] if pos.ndim == 2 else pos
    size = [int(side) for side in resolution]
    found, change = _nvdiffrast().rasterize(
        _context(pos.device), pos.contiguous(), tri.contiguous(), resolution=size, grad_db=derivatives
    )
    return found, change if derivatives else change[..., :0]


def _interpolate(
    attr: torch.Tensor,
    rast: torch.Tensor,
    tri: torch.Tensor,
    rast_db: torch.Tensor | None = None,
    diff_attrs: str | Sequence[int] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    _check(rast)
    attr = attr[None] if attr.ndim == 2 else attr
    wanted = diff_attrs if diff_attrs is None or isinstance(diff_attrs, str) else list(diff_attrs)
    found: tuple[torch.Tensor, torch.Tensor] = _nvdiffrast().interpolate(
        attr.contiguous(), rast, tri.contiguous(), rast_db=rast_db if wanted is not None else None, diff_attrs=wanted
    )
    return found


def _texture(
    tex: torch.Tensor,
    uv: torch.Tensor,
    uv_da: torch.Tensor | None = None,
    *,
    filter: str = "auto",
    boundary: str = "wrap",
    max_mip_level: int | None = None,
    mip: object = None,
) -> torch.Tensor:
    _check(uv)
    da = uv_da if filter in ("auto", "linear-mipmap-linear", "linear-mipmap-nearest") else None
    found: torch.Tensor = _nvdiffrast().texture(
        tex.contiguous(),
        uv.contiguous(),
        None if da is None else da.contiguous(),
        filter_mode=filter,
        boundary_mode=boundary,
        max_mip_level=max_mip_level,
    )
    return found


def _antialias(
    color: torch.Tensor,
    rast: torch.Tensor,
    pos: torch.Tensor,
    tri: torch.Tensor,
    topology: torch.Tensor | None = None,
    *,
    reach: int = 0,
    neighbours: torch.Tensor | None = None,
) -> torch.Tensor:
    _check(color)
    pos = pos[None] if pos.ndim == 2 else pos
    found: torch.Tensor = _nvdiffrast().antialias(color.contiguous(), rast, pos.contiguous(), tri.contiguous())
    return found


_THEIRS: dict[str, Callable[..., Any]] = {
    "rasterize": _rasterize,
    "interpolate": _interpolate,
    "texture": _texture,
    "antialias": _antialias,
}
