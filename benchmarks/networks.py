"""How long the large networks take, and how much memory: `python benchmarks/networks.py --device cuda:0 --views 6,16`.

Whole runs from pictures to mesh at the published size, with random weights unless `--store` names a folder with the
released ones. With random weights the object is a ball: the structure decoder runs, and its answer is replaced by
a shell of so many voxels; the mesh decoder runs, and its distances are replaced by those to the ball's surface. So
every network does what it would do for an object of that size, and so does the extraction.

One run warms up, the next is measured; times are of networks at work, loading is told apart (random weights are drawn
on the device; only `--store` measures files). `--profile` tells where the time of one more run goes.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import commit
from published import ENCODERS, NETWORKS, published_keys, tensors_of
from torch import Tensor, nn

from meshwright.device import describe_device, pick_device
from meshwright.models.reconviagen.large.config import GenerationConfig, LatentScale
from meshwright.models.reconviagen.large.generate import Generated, generate
from meshwright.models.reconviagen.large.loading import Loaded, build
from meshwright.models.reconviagen.large.nets.vggt.aggregator import Aggregator
from meshwright.models.reconviagen.large.nets.vggt.camera_head import CameraHead
from meshwright.models.reconviagen.large.nets.vggt.point_head import PointHead
from meshwright.models.reconviagen.large.nets.vision import VisionTransformer
from meshwright.models.reconviagen.large.networks import NAMES, FileNetworks, Networks
from meshwright.models.reconviagen.large.sampling import SamplerConfig
from meshwright.models.reconviagen.large.sparse.tensor import SparseTensor

FILES = {
    "sparse_structure_vggt_cond": "ss_vggt_cond",
    "slat_vggt_cond": "slat_vggt_cond",
    "sparse_structure_flow_model": "ss_flow_img_dit_L_16l8_fp16",
    "sparse_structure_decoder": "ss_dec_conv3d_16l8_fp16",
    "slat_flow_model": "slat_flow_img_dit_L_64l8p2_fp16",
    "slat_decoder_mesh": "slat_dec_mesh_swin8_B_64l8m256c_fp16",
    "slat_decoder_gs": "slat_dec_gs_swin8_B_64l8gs32_fp16",
}
SMALL: dict[str, dict[str, Any]] = {
    "dinov2": {"img_size": 70, "embed_dim": 64, "depth": 2, "num_heads": 1},
    "vggt": {"img_size": 70, "embed_dim": 64, "num_heads": 1, "patch_embed": {"depth": 2, "num_heads": 1}},
    "sparse_structure_vggt_cond": {"channels": 64, "ctx_channels": 192, "num_heads": 4, "num_init_tokens": 64},
    "slat_vggt_cond": {"channels": 64, "ctx_channels": 192},
    "sparse_structure_flow_model": {
        "resolution": 4,
        "model_channels": 64,
        "cond_channels": 64,
        "num_blocks": 2,
        "num_heads": 4,
    },
    "sparse_structure_decoder": {"channels": [32, 16, 8]},
    "slat_flow_model": {
        "resolution": 16,
        "model_channels": 64,
        "cond_channels": 64,
        "num_blocks": 2,
        "num_heads": 4,
        "io_block_channels": [32],
    },
    "slat_decoder_mesh": {"resolution": 16, "model_channels": 256, "num_blocks": 2, "num_heads": 4, "window_size": 4},
    "slat_decoder_gs": {"resolution": 16, "model_channels": 64, "num_blocks": 2, "num_heads": 4, "window_size": 4},
}
"""What `--small` changes: all stages in seconds on a CPU, to try this program, not to compare."""
RADIUS = 0.375
"""Of the ball; a shell of 20,000 of 64^3 voxels around it is nearly three voxels thick, as released weights give."""


class _Shell(nn.Module):
    """A structure decoder that always answers with the voxels nearest to the ball's surface."""

    def __init__(self, inner: nn.Module, voxels: int) -> None:
        super().__init__()
        self.inner, self.voxels = inner, voxels

    def forward(self, z: Tensor) -> Tensor:
        logits: Tensor = self.inner(z)
        side = logits.shape[-1]
        axis = (torch.arange(side, device=z.device) + 0.5) / side - 0.5
        squares = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
        away = (squares.sqrt() - RADIUS).abs()
        least = away.flatten().sort().values[min(self.voxels, away.numel()) - 1]
        return torch.where(away <= least, 1.0, -1.0).to(logits.dtype).expand_as(logits)


class _Ball(nn.Module):
    """A mesh decoder whose distances are those to the ball's surface."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.cube_resolution = inner.cube_resolution

    def forward(self, latent: SparseTensor) -> SparseTensor:
        cubes: SparseTensor = self.inner(latent)
        for corner in range(8):
            step = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2], device=cubes.device)
            place = (cubes.coords[:, 1:] + step) / self.cube_resolution - 0.5
            cubes.feats[:, corner] = place.norm(dim=1) - RADIUS
        return cubes


class RandomNetworks:
    """Full-size or small networks with random weights, drawn anew whenever one is asked for."""

    latent_scale = LatentScale(mean=(0.0,) * 8, std=(1.0,) * 8)

    def __init__(self, device: str, voxels: int, small: bool) -> None:
        self.device, self.voxels, self.small = device, voxels, small

    def load(self, name: str) -> Loaded:
        torch.manual_seed(0)
        with torch.device(self.device):
            network = self._made(name)
        network.eval().requires_grad_(False)
        if name == "sparse_structure_decoder":
            network = _Shell(network, self.voxels)
        elif name == "slat_decoder_mesh":
            network = _Ball(network)
        return Loaded(network=network, file="random weights")

    def _made(self, name: str) -> nn.Module:
        changes = SMALL[name] if self.small else {}
        if name == "dinov2":
            return VisionTransformer(**changes)
        if name == "vggt":
            return Aggregator(**changes)
        kind, args, _ = NETWORKS[FILES[name]]
        return build(kind, args | changes)


def networks_of(folder: Path) -> Networks:
    """The released weights in a store."""
    from meshwright.weights import LARGE, Store, installed

    found = installed(LARGE, Store(folder))
    assert found.pipeline is not None
    return FileNetworks(found.networks, found.pipeline)


def pictures(count: int, side: int = 1024) -> list[np.ndarray]:
    """Noise on discs of different sizes, uint8 RGBA."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] - side / 2
    found = []
    for index in range(count):
        inside = x**2 + y**2 < (side * (0.3 + 0.1 * index / count)) ** 2
        noise = np.kron(rng.integers(0, 256, (side // 16, side // 16, 3)), np.ones((16, 16, 1)))
        found.append(np.dstack([noise, 255 * inside]).astype(np.uint8))
    return found


def counts(keys: Path | None) -> list[dict[str, Any]]:
    """Parameters and tensors of every full-size network beside the published numbers and, given the list, keys."""
    makers: dict[str, tuple[Callable[[], nn.Module], str, str, int]] = {
        stem: (lambda kind=kind, args=args: build(kind, args), stem, "", count)  # type: ignore[misc]
        for stem, (kind, args, count) in NETWORKS.items()
    }
    classes = {
        "vggt": Aggregator,
        "vggt camera_head": CameraHead,
        "vggt point_head": PointHead,
        "dinov2": VisionTransformer,
    }
    makers |= {name: (classes[name], *ENCODERS[name]) for name in ENCODERS}
    rows = []
    for name, (make, section, prefix, count) in makers.items():
        with torch.device("meta"):
            network = make()
        row: dict[str, Any] = {
            "network": name,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "published": count,
            "tensors": len(network.state_dict()),
        }
        if keys is not None:
            row["keys_equal"] = tensors_of(network, prefix) == published_keys(keys, section)
        rows.append(row)
    return rows


def counts_table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| network | parameters | published | tensors | keys, shapes, precisions |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        same = {True: "equal", False: "DIFFERENT", None: "not compared"}[row.get("keys_equal")]
        equal = "equal" if row["parameters"] == row["published"] else f"{row['published']:,}"
        lines.append(f"| {row['network']} | {row['parameters']:,} | {equal} | {row['tensors']:,} | {same} |")
    return "\n".join(lines)


def measured(made: Generated, wall: float, device: str) -> dict[str, Any]:
    """What a run's report says, and the whole of it."""
    seconds: Any = made.report["seconds"]
    memory: Any = made.report.get("peak_memory_gb", {})
    result = dict(made.report) | {"seconds_in_all": round(sum(seconds.values()), 3), "wall_seconds": round(wall, 3)}
    if memory:
        result["peak_memory_gb_in_all"] = max(memory.values())
    elif device == "cpu":
        # Of the process, so of all runs until now.
        result["peak_process_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2, 2)
    return result


def run_table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown, one row a network, two columns a run: seconds and peak memory."""
    head = "| network | " + " | ".join(f"{name}: s | GiB" for name in results) + " |"
    lines = [head, "| --- |" + " --- | --- |" * len(results)]
    names = [name for name in ("pictures", *NAMES, "extraction") if any(name in r["seconds"] for r in results.values())]
    for name in names:
        cells = [
            f"{r['seconds'].get(name, float('nan')):.3f} | {r.get('peak_memory_gb', {}).get(name, float('nan')):.2f}"
            for r in results.values()
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    cells = [
        f"{r['seconds_in_all']:.3f} | {r.get('peak_memory_gb_in_all', r.get('peak_process_gb', float('nan'))):.2f}"
        for r in results.values()
    ]
    return "\n".join([*lines, f"| in all | {' | '.join(cells)} |"])


def profiled(run: Callable[[], Any], device: str) -> str:
    """What torch's profiler says about one run, kernels that take most first."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device != "cpu" else [])
    with profile(activities=activities) as seen:
        run()
    order = "self_cpu_time_total" if device == "cpu" else "self_device_time_total"
    return seen.key_averages().table(sort_by=order, row_limit=40, max_name_column_width=70)


def sampler(config: SamplerConfig, steps: int) -> SamplerConfig:
    return SamplerConfig(**(vars(config) | ({"steps": steps} if steps else {})))


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the large networks.")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--views", default="6,16", help="numbers of views")
    parser.add_argument("--steps", type=int, default=0, help="of both samplers (default: the published 30 and 12)")
    parser.add_argument("--voxels", type=int, default=20_000, help="that the object fills")
    parser.add_argument("--small", action="store_true", help="tiny networks, to try this program")
    parser.add_argument("--gaussians", action="store_true", help="decode to gaussians too")
    parser.add_argument("--store", type=Path, help="a folder with the released weights, in place of random ones")
    parser.add_argument("--once", action="store_true", help="no run to warm up")
    parser.add_argument("--profile", action="store_true", help="where the time of one more run goes")
    parser.add_argument("--keys", type=Path, help="state_dict_keys.md, to compare keys with")
    parser.add_argument("--counts-only", action="store_true", help="parameters and keys, no run")
    parser.add_argument("--out", type=Path, help="a folder for networks.json and networks.md")
    options = parser.parse_args()
    device = pick_device(options.device)
    about = {**describe_device(device), "commit": known_commit(), "torch": torch.__version__}
    print(json.dumps(about))
    rows = counts(options.keys)
    print(counts_table(rows), flush=True)
    if options.counts_only:
        return
    standard = GenerationConfig()
    config = GenerationConfig(
        structure=sampler(standard.structure, options.steps),
        detail=sampler(standard.detail, options.steps),
        gaussians=options.gaussians,
    )
    voxels = options.voxels // 64 if options.small else options.voxels
    networks: Networks = networks_of(options.store) if options.store else RandomNetworks(device, voxels, options.small)
    results: dict[str, dict[str, Any]] = {}
    for views in (int(word) for word in options.views.split(",")):
        given = pictures(views)
        if not options.once:
            generate(given, networks, config, device=device)
        begun = time.perf_counter()
        made = generate(given, networks, config, device=device)
        name = f"{views} views"
        results[name] = measured(made, time.perf_counter() - begun, device)
        print(json.dumps({name: results[name]}), flush=True)
        text = run_table(results)
        if options.out:  # after every run: what is measured is not lost if a later one fails
            options.out.mkdir(parents=True, exist_ok=True)
            (options.out / "networks.json").write_text(
                json.dumps({"about": about, "counts": rows, "runs": results}, indent=1)
            )
            (options.out / "networks.md").write_text(
                f"{about['name']}, commit {about['commit']}\n\n{counts_table(rows)}\n\n{text}\n"
            )
        if options.profile:
            print(profiled(lambda given=given: generate(given, networks, config, device=device), device), flush=True)  # type: ignore[misc]
    print(text)


def known_commit() -> str:
    """The commit, where git can be asked."""
    try:
        return commit()
    except OSError:
        return "unknown"


if __name__ == "__main__":
    main()
