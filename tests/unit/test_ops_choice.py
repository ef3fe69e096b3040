"""Which rasteriser is used: a stand-in for nvdiffrast hears what the real one would."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from meshwright.errors import OptionError
from meshwright.rendering import ops
from meshwright.rendering.ops import choice

POS = torch.tensor([[[-0.5, -0.5, 0.0, 1.0], [0.5, -0.5, 0.0, 1.0], [0.0, 0.5, 0.0, 1.0]]])
TRI = torch.tensor([[0, 1, 2]], dtype=torch.int32)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(choice.VARIABLE, raising=False)
    choice._nvdiffrast.cache_clear()
    choice._context.cache_clear()


def test_our_own_is_used_unless_asked_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not choice.is_nvdiffrast()
    monkeypatch.setenv(choice.VARIABLE, "")
    assert ops.rasterize(POS, TRI, (8, 8))[0].shape == (1, 8, 8, 4)
    monkeypatch.setenv(choice.VARIABLE, "meshwright")
    assert not choice.is_nvdiffrast()


def test_an_unknown_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.VARIABLE, "opengl")
    with pytest.raises(OptionError, match="opengl"):
        ops.rasterize(POS, TRI, (8, 8))


def test_on_a_cpu_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.VARIABLE, "nvdiffrast")
    with pytest.raises(OptionError, match="on a GPU only"):
        ops.rasterize(POS, TRI, (8, 8))


def test_where_it_is_missing_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.VARIABLE, "nvdiffrast")
    monkeypatch.setattr(choice, "_check", lambda tensor: None)
    monkeypatch.setitem(sys.modules, "nvdiffrast", None)
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", None)
    with pytest.raises(OptionError, match="cannot be imported") as caught:
        ops.interpolate(POS[0], torch.zeros(1, 8, 8, 4), TRI)
    assert "diffrp-nvdiffrast" in (caught.value.hint or "")


def test_arguments_and_results_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in has nvdiffrast's names of arguments, and computes with our own operations."""
    heard: list[str] = []
    own = {name: getattr(ops, name).__wrapped__ for name in ("rasterize", "interpolate", "texture", "antialias")}

    class RasterizeCudaContext:
        def __init__(self, device: torch.device) -> None:
            self.device = device

    def rasterize(context: Any, pos: Any, tri: Any, resolution: Any, ranges: Any = None, grad_db: bool = True) -> Any:
        assert isinstance(context, RasterizeCudaContext) and pos.ndim == 3 and isinstance(resolution, list)
        heard.append("rasterize")
        return own["rasterize"](pos, tri, tuple(resolution))

    def interpolate(attr: Any, rast: Any, tri: Any, rast_db: Any = None, diff_attrs: Any = None) -> Any:
        assert attr.ndim == 3
        heard.append("interpolate")
        return own["interpolate"](attr, rast, tri, rast_db, diff_attrs)

    def texture(
        tex: Any, uv: Any, uv_da: Any = None, mip_level_bias: Any = None, mip: Any = None,
        filter_mode: str = "auto", boundary_mode: str = "wrap", max_mip_level: Any = None,
    ) -> Any:  # fmt: skip
        heard.append("texture")
        return own["texture"](tex, uv, uv_da, filter=filter_mode, boundary=boundary_mode, max_mip_level=max_mip_level)

    def antialias(color: Any, rast: Any, pos: Any, tri: Any, topology_hash: Any = None) -> Any:
        assert pos.ndim == 3
        heard.append("antialias")
        return own["antialias"](color, rast, pos, tri)

    stand_in = ModuleType("nvdiffrast.torch")
    for value in (RasterizeCudaContext, rasterize, interpolate, texture, antialias):
        setattr(stand_in, value.__name__, value)
    monkeypatch.setitem(sys.modules, "nvdiffrast", ModuleType("nvdiffrast"))
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", stand_in)
    monkeypatch.setattr(choice, "_check", lambda tensor: None)
    uv, picture = torch.rand(3, 2), torch.rand(1, 16, 16, 3)

    def drawn() -> torch.Tensor:
        rast, change = ops.rasterize(POS[0], TRI, (16, 16))
        place, slope = ops.interpolate(uv, rast, TRI, change, diff_attrs=(0, 1))
        smooth = ops.texture(picture, place, slope)
        plain = ops.texture(picture, place, filter="linear", boundary="clamp")
        return ops.antialias(torch.cat([smooth, plain], -1), rast, POS[0], TRI, reach=4)

    before = drawn()
    assert not heard
    bare = ops.rasterize(POS, TRI, (16, 16), derivatives=False)[1]
    monkeypatch.setenv(choice.VARIABLE, "nvdiffrast")
    assert torch.equal(drawn(), before)
    assert heard == ["rasterize", "interpolate", "texture", "texture", "antialias"]
    assert ops.rasterize(POS, TRI, (16, 16), derivatives=False)[1].shape == bare.shape
