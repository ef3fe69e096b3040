"""Train the `mini` checkpoint from nothing: `python -m training.train --out build/mini`. See README.md beside this."""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as distributed
import torch.nn.functional as functional

from meshwright.models.reconviagen.lifting import HALF, Prior, Seen, Surfaces, blurred
from meshwright.models.reconviagen.network import COARSE_LIMIT, FINE_LIMIT, NetConfig, halved, unfolded
from meshwright.synth.objects import get_object, list_objects
from training.disturb import Faults, shown
from training.measure import f_score
from training.objects import DATA_VERSION, draw, loader, pack
from training.scenes import Scenes, render

CHANNELS = ("colour", "depth", "front", "features", "start")
FAULTS = ("missing", "calibration", "masks", "exposure", "grey")
CASES = {
    "six": ((1, 1, 1, 1, 1, 1), False),
    "six+depth": ((1, 1, 1, 1, 1, 1), True),
    "four": ((1, 1, 1, 1, 0, 0), False),
    "three": ((1, 0, 1, 0, 1, 0), False),
}
"""What validation shows: which views, and whether with depth."""
FRESH, FRESH_SEED = 16, 2**31
"""So many objects of the training's own kinds, from a seed that no training has, are looked at beside."""


@dataclass(kw_only=True)
class State:
    """All that a later piece needs to go on."""

    net: Prior
    mean: Prior
    optimiser: torch.optim.Optimizer
    elapsed: float = 0.0
    steps: int = 0
    seen: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)


def main() -> None:
    """One piece of training."""
    arguments = parse()
    rank, world = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = arguments.device if arguments.device == "cpu" else f"cuda:{rank}"
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(arguments.seed)
    state = begin(arguments, device)
    # Workers are forked: before anything starts threads on the GPU.
    packs = loader(arguments.seed * 1000 + rank + 97 * state.steps, arguments.batch, arguments.workers)
    next(packs)
    if device != "cpu":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.benchmark_limit = 4
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    for net in (state.net, state.mean):
        net.to(device)
        channels_last(net)
    if arguments.compile:
        for part in (state.net.view, state.net.coarse, state.net.fine):
            part.compile()
    if world > 1:
        if device == "cpu":
            distributed.init_process_group("gloo")
        else:
            distributed.init_process_group("nccl", device_id=torch.device(device))
    if arguments.resume and (out / "state.pt").exists():
        load(state, out / "state.pt", device)
    validation = prepare_validation(device, arguments) if rank == 0 else []
    run(state, packs, validation, arguments, device, rank, world, out)
    if world > 1:
        distributed.destroy_process_group()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    parser.add_argument(
        "--seconds", type=float, default=1000.0, help="of the whole training; the rate falls to 0 there"
    )
    parser.add_argument("--piece", type=float, default=1e9, help="seconds of this call")
    parser.add_argument("--batch", type=int, default=8, help="objects a step and GPU")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--grid", type=int, default=128)
    parser.add_argument("--widths", default="32,32:80:160:256,48", help="of the view, coarse and fine networks")
    parser.add_argument("--workers", type=int, default=8, help="processes that draw objects, for each GPU")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--compile", action="store_true", help="fuse what lies between convolutions (takes a minute)")
    parser.add_argument("--without", default="", help=f"leave out, comma-separated: {', '.join(CHANNELS + FAULTS)}")
    parser.add_argument("--check", type=float, default=60.0, help="seconds between validations")
    arguments = parser.parse_args()
    arguments.without = tuple(name for name in arguments.without.split(",") if name)
    unknown = set(arguments.without) - {*CHANNELS, *FAULTS}
    if unknown:
        parser.error(f"--without knows {', '.join(CHANNELS + FAULTS)}, not {', '.join(unknown)}")
    return arguments


def begin(arguments: argparse.Namespace, device: str) -> State:
    """Networks with random weights."""
    view, coarse, fine = arguments.widths.split(",")
    config = NetConfig(view=int(view), coarse=tuple(int(w) for w in coarse.split(":")), fine=int(fine))
    net = Blinded(config, grid=arguments.grid, without=arguments.without)
    mean = copy.deepcopy(net).requires_grad_(False)
    fused = device != "cpu"
    net.to(device)
    return State(
        net=net,
        mean=mean,
        optimiser=torch.optim.AdamW(net.parameters(), arguments.rate, weight_decay=0.02, fused=fused),
    )


class Blinded(Prior):
    """The networks, of which some inputs can be left out for good."""

    def __init__(self, config: NetConfig, *, grid: int, without: tuple[str, ...]) -> None:
        super().__init__(config, grid=grid)
        self.without = without

    def fronts(self, seen: Seen, layers: torch.Tensor) -> torch.Tensor:
        """Nothing, where the front of the hull is left out."""
        fronts = super().fronts(seen, layers)
        return torch.zeros_like(fronts) if "front" in self.without else fronts

    def surfaces(self, seen: Seen, layers: torch.Tensor, fronts: torch.Tensor) -> Surfaces:
        """Without features, where these are left out."""
        surfaces = super().surfaces(seen, layers, fronts)
        if "features" in self.without:
            return replace(surfaces, features=torch.zeros_like(surfaces.features))
        return surfaces

    def start(self, seen: Seen, layers: torch.Tensor, surfaces: Surfaces) -> torch.Tensor:
        """Nothing but masks, where the start is left out."""
        begun = super().start(seen, layers, surfaces)
        if "start" in self.without:
            begun[:, 16:] = 0
        return begun


def channels_last(net: torch.nn.Module) -> None:
    """The memory layout in which convolutions are quick on a GPU."""
    for module in net.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        elif isinstance(module, torch.nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def run(
    state: State,
    packs: Iterator[Any],
    validation: list[Scenes],
    arguments: argparse.Namespace,
    device: str,
    rank: int,
    world: int,
    out: Path,
) -> None:
    """Steps until this piece, or the whole training, is over."""
    rng = np.random.default_rng([arguments.seed, rank, state.steps])
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**31)))
    faults = chosen_faults(arguments.without)
    begun, before = time.perf_counter(), state.elapsed
    checked = state.elapsed
    stop = torch.zeros(1, device=device)
    running: list[torch.Tensor] = []
    while True:
        state.elapsed = before + time.perf_counter() - begun
        if state.steps % 10 == 0:
            # Rank 0's clock decides for all.
            stop.fill_(float(state.elapsed > arguments.seconds or state.elapsed - before > arguments.piece))
            if world > 1:
                distributed.broadcast(stop, 0)
            if stop.item() > 0:
                break
        set_rate(state, arguments)
        scenes = render(next(packs), grid=arguments.grid, device=device)
        seen = blinded(shown(scenes, faults, generator), arguments.without)
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=device != "cpu"):
            fine, coarse, surfaces = state.net(seen)
        terms = losses(fine, coarse, surfaces, scenes, seen)
        total = sum(terms.values(), start=torch.zeros((), device=device))
        state.optimiser.zero_grad(set_to_none=True)
        total.backward()
        if world > 1:
            average([p.grad for p in state.net.parameters() if p.grad is not None], world)
        torch.nn.utils.clip_grad_norm_(state.net.parameters(), 1.0)
        state.optimiser.step()
        follow(state)
        state.steps += 1
        state.seen += arguments.batch * world
        running.append(torch.stack([term.detach() for term in terms.values()]))
        early = arguments.check < arguments.seconds and state.steps in (20, 200)
        if rank == 0 and (state.elapsed - checked > arguments.check or early):
            checked = state.elapsed
            note(state, validation, arguments, dict(zip(terms, torch.stack(running).mean(0).tolist(), strict=True)))
            running = []
            save(state, arguments, out, device)
    if world > 1:
        buffers = [b for b in state.mean.buffers() if b.is_floating_point()]
        average(buffers, world)
    if rank == 0:
        note(state, validation, arguments, {})
        save(state, arguments, out, device)


def set_rate(state: State, arguments: argparse.Namespace) -> None:
    """Up within the first 2 % of the time, then down along a cosine."""
    share = min(state.elapsed / arguments.seconds, 1.0)
    rate = arguments.rate * min(1.0, state.steps / 50, 0.05 + share / 0.02) * (0.5 + 0.5 * math.cos(math.pi * share))
    for group in state.optimiser.param_groups:
        group["lr"] = rate + 1e-6


def chosen_faults(without: tuple[str, ...]) -> Faults:
    off = {name: 0.0 for name in without if name in FAULTS}
    if "depth" in without:
        off["depth"] = 0.0
    return replace(Faults(), **off)


def blinded(seen: Seen, without: tuple[str, ...]) -> Seen:
    """Without colours, where that channel is left out."""
    if "colour" in without:
        picture = seen.picture.clone()
        picture[:, :, 1:4] = 0
        return replace(seen, picture=picture)
    return seen


def losses(
    fine: torch.Tensor, coarse: torch.Tensor, surfaces: Surfaces, scenes: Scenes, seen: Seen
) -> dict[str, torch.Tensor]:
    """What is to become small; each network learns from its own terms."""
    truth = (scenes.field / FINE_LIMIT).clamp(-1, 1)
    half = halved(scenes.field[:, None])[:, 0]
    rough = (half / COARSE_LIMIT).clamp(-1, 1)
    sure = (seen.present[:, :, None, None] * (scenes.cover > 0.99)).float()
    count = sure.sum() + 1
    distance = seen.distance[..., None, None]
    off = (surfaces.depth - (distance - scenes.depth)).abs() * sure
    likely = (off * torch.exp(-surfaces.spread) + surfaces.spread * sure).sum() / count
    facing = ((1 - (surfaces.normal * scenes.normal).sum(2)) * sure).sum() / count
    return {
        "fine": _distance_loss(fine, truth),
        "coarse": _distance_loss(coarse, rough),
        "depth": 0.2 * likely,
        "normal": 0.3 * facing,
    }


def _distance_loss(guess: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Absolute differences, near the surface four times as heavy; beyond the limit only the side counts."""
    near = 1 + 3 * (truth.abs() < 0.9).float()
    over = torch.where(truth.abs() >= 0.999, functional.relu(1 - guess * truth), (guess - truth).abs())
    return (over * near).sum() / near.sum() * 4


def average(tensors: list[torch.Tensor], world: int) -> None:
    """Mean over all processes, in one message."""
    flat = torch.cat([t.flatten() for t in tensors])
    distributed.all_reduce(flat)
    flat /= world
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


@torch.no_grad()
def follow(state: State) -> None:
    """The mean of the weights over the last steps: what is delivered."""
    keep = min(0.999, (1 + state.steps) / (10 + state.steps))
    mine, theirs = list(state.mean.parameters()), list(state.net.parameters())
    torch._foreach_lerp_(mine, [p.detach() for p in theirs], 1 - keep)
    for a, b in zip(state.mean.buffers(), state.net.buffers(), strict=True):
        if a.is_floating_point():
            a.lerp_(b, 1 - keep)


def prepare_validation(device: str, arguments: argparse.Namespace) -> list[Scenes]:
    """The catalogue of `meshwright synth`, kinds of objects that training never sees, and fresh ones of its own kinds."""
    names = [str(getattr(item, "name", item)) for item in list_objects()]
    names = names[:2] if device == "cpu" else names
    packs = [pack([get_object(name)]) for name in names]
    fresh = np.random.default_rng(FRESH_SEED)
    packs += [draw(fresh, 1) for _ in range(2 if device == "cpu" else FRESH)]
    return [render(p, grid=arguments.grid, device=device) for p in packs]


@torch.no_grad()
def validate(net: Prior, validation: list[Scenes], without: tuple[str, ...]) -> dict[str, float]:
    """Mean F-score at 0.01 over the validation set, by case."""
    net.eval()
    scores = {}
    for case, (present, with_depth) in CASES.items():
        found = []
        for scenes in validation:
            device = scenes.field.device
            still = Faults(
                missing=0, calibration=0, masks=0, depth=1.1 if with_depth else 0, depth_offset=0, depth_scale=0,
                grey=0, exposure=0,
            )  # fmt: skip
            seen = blinded(shown(scenes, still, torch.Generator(device).manual_seed(1)), without)
            there = torch.tensor([present], device=device, dtype=torch.float32)
            seen = replace(
                seen, present=there, mask=seen.mask * there[..., None, None],
                picture=seen.picture * there[..., None, None, None],
            )  # fmt: skip
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu"):
                fine, _, surfaces = net(seen)
            # Whatever is believed is cut by the outlines afterwards.
            cut = hull(net, seen, surfaces)[0]
            found.append(f_score(torch.maximum(fine[0].float(), cut), scenes.field[0], HALF))
        fresh = 2 if len(found) < FRESH else FRESH
        scores[case] = round(float(np.mean(found[:-fresh])), 4)
        scores[f"{case} fresh"] = round(float(np.mean(found[-fresh:])), 4)
        if case == "six":
            scores["each"] = [round(f, 3) for f in found]  # type: ignore[assignment]
    return scores


def hull(net: Prior, seen: Seen, surfaces: Surfaces) -> torch.Tensor:
    """Signed distance to what the outlines alone leave, in FINE_LIMITs, [B, N, N, N]."""
    blind = replace(seen, picture=torch.zeros_like(seen.picture))
    return unfolded(net.start(blind, blurred(seen.mask), surfaces)[:, 16:]) / FINE_LIMIT


def note(state: State, validation: list[Scenes], arguments: argparse.Namespace, terms: dict[str, float]) -> None:
    scores = validate(state.mean, validation, arguments.without)
    row = {"seconds": round(state.elapsed, 1), "steps": state.steps, "objects": state.seen}
    row |= {name: round(value, 4) for name, value in terms.items()} | scores
    state.log.append(row)
    print(json.dumps(row), flush=True)


def save(state: State, arguments: argparse.Namespace, out: Path, device: str) -> None:
    """The state to go on from, and apart from it what is delivered: mean weights in half precision, and the log."""
    torch.save(
        {
            "net": state.net.state_dict(),
            "mean": state.mean.state_dict(),
            "optimiser": state.optimiser.state_dict(),
            "elapsed": state.elapsed,
            "steps": state.steps,
            "seen": state.seen,
            "log": state.log,
        },
        out / "state.part",
    )
    (out / "state.part").replace(out / "state.pt")
    export(state, arguments, out, device)


def export(state: State, arguments: argparse.Namespace, out: Path, device: str) -> None:
    from safetensors.torch import save_file

    weights = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in state.mean.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    about = {
        "family": "mini",
        "config": json.dumps(asdict(state.net.config)),
        "grid": str(arguments.grid),
        "data_version": str(DATA_VERSION),
        "seed": str(arguments.seed),
        "without": ",".join(arguments.without),
        "seconds": str(round(state.elapsed)),
        "objects": str(state.seen),
    }
    save_file(weights, out / "mini.safetensors", metadata=about)
    name = torch.cuda.get_device_name(device) if device != "cpu" else "cpu"
    world = int(os.environ.get("WORLD_SIZE", "1"))
    curve = {"arguments": vars(arguments), "device": name, "gpus": world, "torch": torch.__version__, "log": state.log}
    (out / "mini.json").write_text(json.dumps(curve, indent=1) + "\n")


def load(state: State, path: Path, device: str) -> None:
    kept = torch.load(path, map_location=device, weights_only=True)
    state.net.load_state_dict(kept["net"])
    state.mean.load_state_dict(kept["mean"])
    state.optimiser.load_state_dict(kept["optimiser"])
    state.elapsed, state.steps, state.seen, state.log = kept["elapsed"], kept["steps"], kept["seen"], kept["log"]


if __name__ == "__main__":
    main()
