"""The golden tensors of a differentiable rasteriser: what the ops give for them, and when the two agree.

`<scene>.npz` beside the checkout hold inputs, outputs and gradients; their README says how they were made and how far
results may be from them: ids equal on all but a handful of edge pixels; where ids agree forward values to 1e-4,
gradients to 1e-3 of the largest number of the tensor.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from meshwright.rendering import ops
from meshwright.rendering.ops.rasterize import rasterize_gradient

Arrays = dict[str, npt.NDArray[np.float32]]

ROOT = Path(__file__).resolve().parents[1]
# Beside the checkout; or inside it, on a machine that only the checkout was copied to.
FOLDER = (
    next((f for f in (ROOT.parent, ROOT) if (f / "shared/goldens").is_dir()), ROOT.parent) / "shared/goldens/nvdiffrast"
)

EDGE_PIXELS = {"sphere": 21, "intersecting": 15, "soup": 13, "nearplane": 2, "subpixel": 31}
"""Pixels on which ids may differ: the goldens were drawn with corners rounded to sixteenths of a pixel, ours are not.
How near to an edge these pixels are is a test of its own."""

FILTERS = (
    "nearest.wrap",
    "linear.wrap",
    "linear.clamp",
    "linear.zero",
    "linear-mipmap-linear.wrap",
    "linear-mipmap-nearest.clamp",
)

OUTPUTS = (
    "rast",
    "rast_db",
    "interp",
    "interp.dattr",
    "interp.drast",
    "interp.dpos",
    "uv_interp",
    "uv_da",
    "uv_da.dpos",
    "aa.out",
    "aa.dcol",
    "aa.dpos",
    *(f"tex.{name}" for name in FILTERS),
    *(f"tex.{name}.dtex" for name in FILTERS),
    *(f"tex.{name}.duv" for name in FILTERS if "nearest.wrap" not in name),
    "tex.linear-mipmap-linear.wrap.duv_da",
)


@cache
def load(scene: str) -> Arrays:
    path = FOLDER / f"{scene}.npz"
    if not path.is_file():
        pytest.skip("the golden tensors are not beside the checkout (goldens/nvdiffrast)")
    with np.load(path) as file:
        return {key: file[key] for key in file}


@cache
def computed(scene: str, device: str) -> Arrays:
    """Every output of a scene, from the golden inputs of its own step."""
    golden = {key: torch.from_numpy(array).to(device) for key, array in load(scene).items()}
    results: dict[str, torch.Tensor] = {}

    def leaf(key: str) -> torch.Tensor:
        return golden[key].clone().requires_grad_()

    pos, tri, size = golden["pos"], golden["tri"], tuple(golden["resolution"].tolist())
    results["rast"], results["rast_db"] = ops.rasterize(pos, tri, size)

    attr, rast = leaf("attr"), leaf("rast")
    results["interp"], _ = ops.interpolate(attr, rast, tri)
    results["interp"].backward(golden["interp.dout"])
    results["interp.dattr"], results["interp.drast"] = attr.grad, rast.grad
    results["interp.dpos"] = rasterize_gradient(pos, tri, golden["rast"], rast.grad, None)

    rast, rast_db = leaf("rast"), leaf("rast_db")
    results["uv_interp"], results["uv_da"] = ops.interpolate(golden["uv"], rast, tri, rast_db, "all")
    results["uv_da"].backward(golden["uv_da.dout"])
    results["uv_da.dpos"] = rasterize_gradient(pos, tri, golden["rast"], rast.grad, rast_db.grad)

    for name in FILTERS:
        key = f"tex.{name}"
        kind, boundary = name.split(".")
        tex, uv, uv_da = leaf("tex"), leaf("uv_interp"), leaf("uv_da")
        results[key] = ops.texture(tex, uv, uv_da, filter=kind, boundary=boundary)
        results[key].backward(golden[f"{key}.dout"])
        results[f"{key}.dtex"], results[f"{key}.duv"], results[f"{key}.duv_da"] = tex.grad, uv.grad, uv_da.grad

    color, pos = leaf("aa.in"), leaf("pos")
    results["aa.out"] = ops.antialias(color, golden["rast"], pos, tri)
    results["aa.out"].backward(golden["aa.dout"])
    results["aa.dcol"], results["aa.dpos"] = color.grad, pos.grad
    return {key: results[key].detach().cpu().numpy() for key in OUTPUTS}


def differing(scene: str, rast: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Pixels that see another triangle than in the golden, bool [N, H, W]."""
    return rast[..., 3] != load(scene)["rast"][..., 3]


def disagreement(scene: str, key: str, results: Arrays) -> str:
    """Where a result is farther from its golden than allowed; empty where it is not."""
    found, golden = results[key], load(scene)[key]
    if found.shape != golden.shape:
        return f"shape {found.shape}, expected {golden.shape}"
    error = np.abs(found.astype(np.float64) - golden)
    is_gradient = key.rpartition(".")[2].startswith("d")
    limit = 1e-3 * np.abs(golden).max() if is_gradient else 1e-4
    if key in ("rast", "rast_db"):
        edge = differing(scene, results["rast"])
        if edge.sum() > EDGE_PIXELS[scene]:
            return f"{edge.sum()} pixels see another triangle"
        error[edge] = 0
    if key == "tex.linear.zero.dtex":
        # Near the border this golden is not the gradient of its own look-up (see the test of that).
        error = error[:, 2:-2, 2:-2]
    worst = np.max(np.where(np.isfinite(error), error, np.inf))
    return f"off by {worst:.3g}, allowed are {limit:.3g}" if worst > limit else ""
