"""How long the differentiable ops take, forward and backward: `python benchmarks/ops.py --device cuda:0 --compare`.

Six views of an icosphere, as in the goldens' `timings_h200.json`: `rasterize` alone, the whole forward (rasterize,
interpolate with derivatives, mipmapped 1024 x 1024 texture with its pyramid built anew, antialias), and forward and
backward of an L1 loss with gradients for positions, texture coordinates and texels. Needs torch, Warp and NumPy only.

Medians of many runs after warming up. On CUDA, each run lies between two events on torch's stream and the device is
waited for before the next, so the time in Python counts wherever the device would have to wait for it; `--graph` also
times replays of a CUDA graph of the same work, in which there is none.
`--compare` runs nvdiffrast in the same process on the same tensors where `import nvdiffrast.torch` works, and compares
what comes out. `--profile` tells where the time goes: every op alone, forward and backward, and the kernels inside.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import commit

from meshwright.device import describe_device, pick_device
from meshwright.rendering import ops

CASES = [(20 * 4**level, side) for level in (5, 6, 7) for side in (512, 1024)]
VIEWS = 6
TEXTURE = 1024

Call = Callable[[], Any]

SIGNS = list(itertools.product((-1, 1), repeat=3))


def known_commit() -> str:
    """The commit, where git can be asked."""
    try:
        return commit()
    except OSError:
        return "unknown"


def icosphere(level: int) -> tuple[np.ndarray, np.ndarray]:
    """A unit sphere of 20 * 4**level triangles: vertices float64 [V, 3], faces int64 [F, 3]."""
    g = (1 + 5**0.5) / 2
    vertices = np.array([[s * x, t * y, u * z] for x, y, z in ((0, 1, g), (1, g, 0), (g, 0, 1)) for s, t, u in SIGNS])
    vertices = np.unique(vertices, axis=0)
    # Neighbours are 2 apart; three of them that are neighbours of each other are a face, turned to look outwards.
    near = np.abs(np.linalg.norm(vertices[:, None] - vertices[None], axis=-1) - 2) < 1e-9
    faces = np.array(
        [t for t in itertools.combinations(range(12), 3) if all(near[i, j] for i, j in itertools.combinations(t, 2))]
    )
    inwards = np.linalg.det(vertices[faces]) < 0
    faces[inwards] = faces[inwards][:, [0, 2, 1]]
    for _ in range(level):
        sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        middle, index = np.unique(sides, axis=0, return_inverse=True)
        a, b, c = (index.reshape(-1, 3) + len(vertices)).T
        vertices = np.concatenate([vertices, vertices[middle].mean(1)])
        i, j, k = faces.T
        faces = np.concatenate([np.stack(t, 1) for t in ((i, a, c), (j, b, a), (k, c, b), (a, b, c))])
    return vertices / np.linalg.norm(vertices, axis=1, keepdims=True), faces


def clip_matrices() -> np.ndarray:
    """World to clip space of the six default views: 26 degrees, distance 2.5, float64 [6, 4, 4]."""
    f, near, far = 1 / np.tan(np.radians(13)), 0.5, 5.0
    projection = np.array(
        [[f, 0, 0, 0], [0, f, 0, 0], [0, 0, (far + near) / (near - far), 2 * far * near / (near - far)], [0, 0, -1, 0]]
    )
    matrices = []
    for x, y in ((0, 0), (0, 180), (0, 90), (0, -90), (90, 0), (-90, 0)):
        cx, sx, cy, sy = *(f(np.radians(x)) for f in (np.cos, np.sin)), *(f(np.radians(y)) for f in (np.cos, np.sin))
        view = np.eye(4)
        view[:3, :3] = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]]) @ np.array(
            [[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]
        )
        view[2, 3] = -2.5
        matrices.append(projection @ view)
    return np.stack(matrices)


@dataclass
class Scene:
    """Tensors of one case."""

    pos: torch.Tensor
    tri: torch.Tensor
    uv: torch.Tensor
    tex: torch.Tensor
    target: torch.Tensor
    size: tuple[int, int]

    def leaves(self) -> tuple[torch.Tensor, ...]:
        return self.pos, self.uv, self.tex


def make_scene(triangles: int, side: int, device: str) -> Scene:
    vertices, faces = icosphere(round(np.log(triangles / 20) / np.log(4)))
    points = np.concatenate([0.5 * vertices, np.ones((len(vertices), 1))], 1)
    pos = np.einsum("nij,vj->nvi", clip_matrices(), points)
    uv = 0.5 + 0.45 * (vertices[:, :2] + vertices[:, 2:] * [0.3, -0.2])
    rng = np.random.default_rng(0)

    def on(array: np.ndarray, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(array), dtype=dtype, device=device)

    return Scene(
        pos=on(pos).requires_grad_(),
        tri=on(faces, torch.int32),
        uv=on(uv).requires_grad_(),
        tex=on(rng.random((1, TEXTURE, TEXTURE, 3))).requires_grad_(),
        target=on(rng.random((VIEWS, side, side, 3))),
        size=(side, side),
    )


class Ours:
    """The chain of ops of meshwright."""

    name = "meshwright"

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.topology = ops.build_topology(scene.tri)

    def rasterize(self) -> tuple[torch.Tensor, torch.Tensor]:
        return ops.rasterize(self.scene.pos, self.scene.tri, self.scene.size)

    def interpolate(self, rast: torch.Tensor, rast_db: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return ops.interpolate(self.scene.uv, rast, self.scene.tri, rast_db, "all")

    def texture(self, uv: torch.Tensor, uv_da: torch.Tensor) -> torch.Tensor:
        return ops.texture(self.scene.tex, uv, uv_da, filter="linear-mipmap-linear")

    def antialias(self, color: torch.Tensor, rast: torch.Tensor) -> torch.Tensor:
        return ops.antialias(color, rast, self.scene.pos, self.scene.tri, self.topology)

    def forward(self) -> torch.Tensor:
        rast, rast_db = self.rasterize()
        return self.antialias(self.texture(*self.interpolate(rast, rast_db)), rast)


def import_nvdiffrast() -> Any:
    """nvdiffrast, if it is installed. Some of its versions import what torch has compiled for them by its bare name."""
    from torch.utils import cpp_extension

    load = cpp_extension.load

    def load_by_name(name: str, *arguments: Any, **options: Any) -> Any:
        module = load(name, *arguments, **options)
        if module is not None:
            sys.modules.setdefault(name, module)
        return module

    if load.__name__ != load_by_name.__name__:
        cpp_extension.load = load_by_name
        # What an earlier run has compiled is imported without being loaded first.
        root = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or cpp_extension.get_default_build_root())
        sys.path += sorted({str(library.parent) for library in root.glob("**/nvdiffrast_plugin*.so")})
    return importlib.import_module("nvdiffrast.torch")


class Theirs(Ours):
    """The same chain of nvdiffrast."""

    name = "nvdiffrast"

    def __init__(self, scene: Scene) -> None:
        self.dr = import_nvdiffrast()
        self.scene = scene
        self.context = self.dr.RasterizeCudaContext(device=scene.pos.device)
        self.topology = self.dr.antialias_construct_topology_hash(scene.tri)

    def rasterize(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.dr.rasterize(self.context, self.scene.pos, self.scene.tri, resolution=self.scene.size)

    def interpolate(self, rast: torch.Tensor, rast_db: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.dr.interpolate(self.scene.uv[None], rast, self.scene.tri, rast_db=rast_db, diff_attrs="all")

    def texture(self, uv: torch.Tensor, uv_da: torch.Tensor) -> torch.Tensor:
        return self.dr.texture(self.scene.tex, uv, uv_da, filter_mode="linear-mipmap-linear")

    def antialias(self, color: torch.Tensor, rast: torch.Tensor) -> torch.Tensor:
        return self.dr.antialias(color, rast, self.scene.pos, self.scene.tri, topology_hash=self.topology)


def step(chain: Ours) -> torch.Tensor:
    """Forward and backward of an L1 loss; gradients are left in the leaves."""
    for leaf in chain.scene.leaves():
        leaf.grad = None
    loss = (chain.forward() - chain.scene.target).abs().mean()
    loss.backward()
    return loss.detach()


def without_gradients(call: Call) -> Call:
    def run() -> Any:
        with torch.no_grad():
            return call()

    return run


def median_ms(call: Call, device: str, runs: int) -> float:
    """The median of so many runs after five to warm up, in milliseconds."""
    for _ in range(5 if device != "cpu" else 2):
        call()
    times = []
    for _ in range(runs):
        if device == "cpu":
            start = time.perf_counter()
            call()
            times.append((time.perf_counter() - start) * 1e3)
        else:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            begin.record()
            call()
            end.record()
            torch.cuda.synchronize()
            times.append(begin.elapsed_time(end))
    return statistics.median(times)


def graph_ms(call: Call, runs: int) -> float:
    """The same of a CUDA graph of the call."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return median_ms(graph.replay, "cuda", runs)


def measures(chain: Ours) -> dict[str, Call]:
    return {
        "rasterize": without_gradients(chain.rasterize),
        "forward": without_gradients(chain.forward),
        "fwd_bwd": lambda: step(chain),
    }


def measure(chain: Ours, device: str, runs: int, graph: bool) -> dict[str, float]:
    """What `timings_h200.json` has for one case; with `graph`, the replayed times too."""
    result = {f"{name}_ms": median_ms(call, device, runs) for name, call in measures(chain).items()}
    if graph:
        for name, call in measures(chain).items():
            result[f"{name}_graph_ms"] = graph_ms(call, runs)
    return result


def measure_ops(chain: Ours, device: str, runs: int) -> dict[str, float]:
    """Every op alone, forward, and backward from a gradient of ones."""
    with torch.no_grad():
        rast, rast_db = chain.rasterize()
        uv, uv_da = chain.interpolate(rast, rast_db)
        color = chain.texture(uv, uv_da)
    fixed = (rast, rast_db, uv, uv_da, color)
    rast, rast_db, uv, uv_da, color = (tensor.detach().requires_grad_() for tensor in fixed)
    calls: dict[str, tuple[Callable[[], Any], tuple[torch.Tensor, ...]]] = {
        "rasterize": (chain.rasterize, (chain.scene.pos,)),
        "interpolate": (lambda: chain.interpolate(rast, rast_db), (chain.scene.uv, rast, rast_db)),
        "texture": (lambda: (chain.texture(uv, uv_da),), (chain.scene.tex, uv, uv_da)),
        "antialias": (lambda: (chain.antialias(color, fixed[0]),), (color, chain.scene.pos)),
    }
    result = {}
    for name, (call, inputs) in calls.items():
        outputs = call()
        ones = [torch.ones_like(output) for output in outputs]

        def backward(
            outputs: Any = outputs, inputs: tuple[torch.Tensor, ...] = inputs, ones: list[torch.Tensor] = ones
        ) -> Any:
            return torch.autograd.grad(outputs, inputs, ones, retain_graph=True, allow_unused=True)

        result[f"{name} forward"] = median_ms(without_gradients(call), device, runs)
        result[f"{name} backward"] = median_ms(backward, device, runs)
    return result


def kernel_table(chain: Ours, device: str) -> str:
    """What torch's profiler says about one step."""
    from torch.profiler import ProfilerActivity, profile

    step(chain)
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device != "cpu" else [])
    with profile(activities=activities) as seen:
        for _ in range(5):
            step(chain)
        if device != "cpu":
            torch.cuda.synchronize()
    order = "self_cpu_time_total" if device == "cpu" else "self_device_time_total"
    return seen.key_averages().table(sort_by=order, row_limit=30, max_name_column_width=60)


def difference(ours: Ours, theirs: Ours) -> dict[str, float]:
    """How far the two chains are apart: share of pixels with other triangles, mean colour difference, gradients."""
    with torch.no_grad():
        a, b = ours.rasterize()[0], theirs.rasterize()[0]
        colors = (ours.forward() - theirs.forward()).abs().mean()
    result = {"other_triangle": (a[..., 3] != b[..., 3]).float().mean().item(), "mean_color": colors.item()}
    gradients = []
    for chain in (ours, theirs):
        step(chain)
        gradients.append([leaf.grad.clone() for leaf in chain.scene.leaves()])
    for name, x, y in zip(("pos", "uv", "tex"), *gradients, strict=True):
        result[f"d{name}_relative"] = ((x - y).norm() / y.norm()).item()
    return result


def table(results: dict[str, dict[str, dict[str, float]]], published: dict[str, dict[str, float]]) -> str:
    """Markdown, one row a case and measure."""
    names = list(
        dict.fromkeys(name for case in results.values() for name in case if name in ("meshwright", "nvdiffrast"))
    )
    rows = [
        "| case | measure | " + " | ".join(f"{name}, ms" for name in names) + " | published nvdiffrast, ms | ratio |"
    ]
    rows.append("| --- | --- |" + " --- |" * (len(names) + 2))
    for case, values in results.items():
        for measured in values["meshwright"]:
            cells = [f"{values[name].get(measured, float('nan')):.3f}" if name in values else "" for name in names]
            known = published.get(case, {}).get(measured.replace("_graph", ""))
            other = values.get("nvdiffrast", {}).get(measured, known)
            ratio = f"{values['meshwright'][measured] / other:.2f}" if other else ""
            rows.append(
                f"| {case} | {measured[:-3]} | {' | '.join(cells)} | {f'{known:.3f}' if known else ''} | {ratio} |"
            )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the differentiable ops.")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--cases", default="", help="such as 20480tri_512,81920tri_1024 (default: all)")
    parser.add_argument("--runs", type=int, default=0, help="runs of each measurement (default: 30, CPU: 5)")
    parser.add_argument("--compare", action="store_true", help="nvdiffrast beside it")
    parser.add_argument("--graph", action="store_true", help="also replays of CUDA graphs")
    parser.add_argument("--profile", action="store_true", help="every op alone, and the kernels of a step")
    parser.add_argument("--published", type=Path, help="the goldens' timings_h200.json, to show beside the times")
    parser.add_argument("--out", type=Path, help="a folder for ops.json and ops.md")
    options = parser.parse_args()
    device = pick_device(options.device)
    runs = options.runs or (5 if device == "cpu" else 30)
    published = json.loads(options.published.read_text()) if options.published else {}
    chosen = [case for case in CASES if not options.cases or f"{case[0]}tri_{case[1]}" in options.cases.split(",")]
    about = {**describe_device(device), "commit": known_commit(), "torch": torch.__version__}
    print(json.dumps(about))
    compare = options.compare and device != "cpu"
    if compare:
        try:
            import_nvdiffrast()
        except ImportError as error:
            print(f"nvdiffrast cannot be imported: {error}", file=sys.stderr)
            compare = False
    results: dict[str, dict[str, dict[str, float]]] = {}
    for triangles, side in chosen:
        name = f"{triangles}tri_{side}"
        scene = make_scene(triangles, side, device)
        chains = [Ours(scene)] + ([Theirs(scene)] if compare else [])
        results[name] = {
            chain.name: measure(chain, device, runs, options.graph and device != "cpu" and chain.name == "meshwright")
            for chain in chains
        }
        if compare:
            results[name]["difference"] = difference(*chains)
        if options.profile:
            for chain in chains:
                results[name][f"{chain.name} ops"] = measure_ops(chain, device, runs)
        print(json.dumps({name: results[name]}), flush=True)
        text = table(results, published)
        if options.out:  # after every case: what is measured is not lost if a later one fails
            options.out.mkdir(parents=True, exist_ok=True)
            (options.out / "ops.json").write_text(json.dumps({"about": about, "cases": results}, indent=1))
            (options.out / "ops.md").write_text(f"{about['name']}, commit {about['commit']}\n\n{text}\n")
        if options.profile:
            print(kernel_table(chains[0], device), flush=True)
    print(text)


if __name__ == "__main__":
    main()
