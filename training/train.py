"""Train the `mini` checkpoint from nothing: `python -m training.train --out build/mini`. See README.md beside this."""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as distributed

from meshwright.models.reconviagen.lifting import Prior
from meshwright.models.reconviagen.network import NetConfig
from meshwright.models.reconviagen.weights import load_checkpoint
from training.disturb import Faults, shown
from training.losses import losses
from training.objects import DATA_VERSION, Packed, loader
from training.scenes import Scenes, render
from training.validation import prepare_validation, validate
from training.without import CHANNELS, FAULTS, SHARES, TERMS, Blinded, blinded, chosen_faults

TURN = 10
"""Steps between two looks at the clock."""
WARM_UP = 200
"""Steps until the learning rate has risen."""


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
    kept = kept_in(out / "state.pt") if arguments.resume else {}
    # Workers are forked: before anything starts threads on the GPU.
    packs = loader((arguments.seed, rank), arguments.batch, arguments.workers, kept.get("steps", 0))
    first = next(packs)
    if device != "cpu":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.benchmark_limit = 4
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    torch.manual_seed(arguments.seed)
    state = begin(arguments, device)
    if kept:
        go_on(state, kept)
    if arguments.compile:
        for part in (state.net.view, state.net.coarse, state.net.fine):
            part.compile()
    if world > 1:
        if device == "cpu":
            distributed.init_process_group("gloo")
        else:
            distributed.init_process_group("nccl", device_id=torch.device(device))
    amount = {"known": arguments.look, "fresh": arguments.look}
    validation = prepare_validation(device, arguments.grid, **amount) if rank == 0 else {}
    run(state, itertools.chain([first], packs), validation, arguments, device, rank, world, out)
    if world > 1:
        distributed.destroy_process_group()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    parser.add_argument(
        "--seconds", type=float, default=1000.0, help="of the whole training; the rate falls to 0 there"
    )
    parser.add_argument("--steps", type=int, default=0, help="of the whole training, instead of --seconds")
    parser.add_argument("--piece", type=float, default=1e9, help="seconds of this call")
    parser.add_argument("--piece-steps", type=int, default=2**62, help="steps of this call")
    parser.add_argument("--batch", type=int, default=8, help="objects a step and GPU")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--score", type=float, default=1.0, help="weight of the loss's term that counts like F-scores")
    parser.add_argument("--grid", type=int, default=128)
    parser.add_argument("--widths", default="32,32:80:160:256,48", help="of the view, coarse and fine networks")
    parser.add_argument("--workers", type=int, default=8, help="processes that draw objects, for each GPU")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on from OUT/state.pt, if it is there")
    parser.add_argument("--weights", default="", help="begin with those of this checkpoint, instead of chance")
    parser.add_argument("--compile", action="store_true", help="fuse what lies between convolutions (takes a minute)")
    known = CHANNELS + FAULTS + TERMS
    parser.add_argument("--without", default="", help=f"leave out, comma-separated: {', '.join(known)}")
    parser.add_argument(
        "--shares", default="", help=f"shares of objects, such as missing=0.25,depth=0.05: {', '.join(SHARES)}"
    )
    parser.add_argument("--check", type=float, default=60.0, help="seconds between validations")
    parser.add_argument("--look", type=int, default=12, help="objects of each sort in a validation")
    parser.add_argument("--keep", action="store_true", help="keep the weights of every look, for training.average")
    arguments = parser.parse_args()
    arguments.without = tuple(name for name in arguments.without.split(",") if name)
    unknown = set(arguments.without) - set(known)
    if unknown:
        parser.error(f"--without knows {', '.join(known)}, not {', '.join(sorted(unknown))}")
    try:
        arguments.shares = {name: float(value) for name, value in _pairs(arguments.shares)}
        chosen_faults((), arguments.shares)
    except ValueError as error:
        parser.error(f"--shares wants NAME=SHARE with NAME of {', '.join(SHARES)} and SHARE in 0 to 1: {error}")
    return arguments


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for item in filter(None, text.split(",")):
        name, _, value = item.partition("=")
        yield name, value


def begin(arguments: argparse.Namespace, device: str) -> State:
    """Networks with random weights, or those of a checkpoint, on a device."""
    view, coarse, fine = arguments.widths.split(",")
    config = NetConfig(view=int(view), coarse=tuple(int(w) for w in coarse.split(":")), fine=int(fine))
    net = Blinded(config, grid=arguments.grid, without=arguments.without)
    if arguments.weights:
        net.load_state_dict(load_checkpoint(Path(arguments.weights), "cpu").prior.state_dict())
    channels_last(net.to(device))
    mean = copy.deepcopy(net).requires_grad_(False)
    fused = device != "cpu"
    return State(
        net=net,
        mean=mean,
        optimiser=torch.optim.AdamW(net.parameters(), arguments.rate, weight_decay=0.02, fused=fused),
    )


def channels_last(net: torch.nn.Module) -> None:
    """The memory layout in which convolutions are quick on a GPU."""
    for module in net.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        elif isinstance(module, torch.nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def run(
    state: State,
    packs: Iterator[Packed],
    validation: dict[str, list[Scenes]],
    arguments: argparse.Namespace,
    device: str,
    rank: int,
    world: int,
    out: Path,
) -> None:
    """Steps until this piece, or the whole training, is over."""
    generator = torch.Generator(device)
    faults = chosen_faults(arguments.without, arguments.shares)
    if rank == 0 and state.steps == 0:
        note(state, validation, arguments, {})
    begun, before, first = time.perf_counter(), state.elapsed, state.steps
    checked = state.elapsed
    running: list[torch.Tensor] = []
    names: list[str] = []
    while True:
        if state.steps % TURN == 0 or state.steps == first:
            state.elapsed = agreed(before + time.perf_counter() - begun, device, world)
        over = share(state, arguments) >= 1 or state.elapsed - before > arguments.piece
        if over or state.steps - first >= arguments.piece_steps:
            break
        if rank == 0 and state.elapsed - checked > arguments.check:
            checked = state.elapsed
            note(state, validation, arguments, means(names, running))
            running = []
            save(state, arguments, out, device)
        set_rate(state, arguments)
        # Each step's chance is its own: it does not matter in which piece it is taken.
        generator.manual_seed(int(np.random.SeedSequence([arguments.seed, rank, state.steps]).generate_state(1)[0]))
        scenes = render(next(packs), grid=arguments.grid, device=device)
        terms = step(state, scenes, faults, generator, arguments, device, world)
        names = list(terms)
        running.append(torch.stack(list(terms.values())))
    state.elapsed = before + time.perf_counter() - begun
    if rank == 0:
        note(state, validation, arguments, means(names, running))
        save(state, arguments, out, device)


def step(
    state: State,
    scenes: Scenes,
    faults: Faults,
    generator: torch.Generator,
    arguments: argparse.Namespace,
    device: str,
    world: int,
) -> dict[str, torch.Tensor]:
    """One batch is looked at and learned from. Returns the terms of its loss."""
    seen = blinded(shown(scenes, faults, generator), arguments.without)
    with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=device != "cpu"):
        fine, coarse, surfaces = state.net(seen)
    terms = losses(fine, coarse, surfaces, scenes, seen, score=arguments.score)
    for name in {*TERMS} & {*arguments.without}:
        del terms[name]
    state.optimiser.zero_grad(set_to_none=True)
    torch.stack(list(terms.values())).sum().backward()
    if world > 1:
        average([p.grad for p in state.net.parameters() if p.grad is not None], world)
    for part in (state.net.view, state.net.coarse, state.net.fine):
        torch.nn.utils.clip_grad_norm_(part.parameters(), 1.0)
    state.optimiser.step()
    follow(state)
    state.steps += 1
    state.seen += arguments.batch * world
    return {name: term.detach() for name, term in terms.items()}


def share(state: State, arguments: argparse.Namespace) -> float:
    """How much of the training is over, 0 to 1."""
    return state.steps / arguments.steps if arguments.steps else state.elapsed / arguments.seconds


def set_rate(state: State, arguments: argparse.Namespace) -> None:
    """Up within the first steps, then down along a cosine."""
    done = min(share(state, arguments), 1.0)
    rate = arguments.rate * min(1.0, (state.steps + 1) / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * done))
    for group in state.optimiser.param_groups:
        group["lr"] = rate + 1e-6


def agreed(seconds: float, device: str, world: int) -> float:
    """Rank 0's clock, for all: whoever took another rate would end up with other weights."""
    if world == 1:
        return seconds
    clock = torch.tensor([seconds], dtype=torch.float64, device=device)
    distributed.broadcast(clock, 0)
    return float(clock.item())


def means(names: list[str], running: list[torch.Tensor]) -> dict[str, float]:
    """Of the loss's terms since the last look.

    Raises:
        FloatingPointError: They are no numbers any more; the state saved last still is.
    """
    if not running:
        return {}
    mean = torch.stack(running).mean(0)
    if not bool(torch.isfinite(mean).all()):
        raise FloatingPointError("The loss is no number any more: use --resume from the last state, at a lower --rate.")
    return dict(zip(names, mean.tolist(), strict=True))


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


def note(
    state: State, validation: dict[str, list[Scenes]], arguments: argparse.Namespace, terms: dict[str, float]
) -> None:
    """Looks at the validation set; adds a row to the learning curve, and prints it."""
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
    """What is delivered."""
    from safetensors.torch import save_file

    weights = {name: value.half().contiguous().cpu() for name, value in state.mean.state_dict().items()}
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
    if arguments.keep:
        save_file(weights, out / f"mini-{round(state.elapsed)}.safetensors", metadata=about)
    name = torch.cuda.get_device_name(device) if device != "cpu" else "cpu"
    world = int(os.environ.get("WORLD_SIZE", "1"))
    curve = {"arguments": vars(arguments), "device": name, "gpus": world, "torch": torch.__version__, "log": state.log}
    (out / "mini.json").write_text(json.dumps(curve, indent=1) + "\n")


def kept_in(path: Path) -> dict[str, Any]:
    """A state that was saved; nothing where there is none."""
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else {}


def go_on(state: State, kept: dict[str, Any]) -> None:
    """Everything as it was when the state was saved."""
    state.net.load_state_dict(kept["net"])
    state.mean.load_state_dict(kept["mean"])
    state.optimiser.load_state_dict(kept["optimiser"])
    state.elapsed, state.steps, state.seen, state.log = kept["elapsed"], kept["steps"], kept["seen"], kept["log"]


if __name__ == "__main__":
    main()
