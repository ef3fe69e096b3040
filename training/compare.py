"""What each input, disturbance and term of the loss is worth: `python -m training.compare --out build/compare`.

Small networks are trained beside each other in one process, on the same objects in the same order; each lacks one
thing, and some lack nothing and differ by their first weights alone, which tells how much chance there is in the rest.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.disturb import Faults
from training.objects import loader
from training.scenes import Scenes, render
from training.train import State, begin, set_rate, step
from training.validation import prepare_validation, validate
from training.without import CHANNELS, FAULTS, TERMS, chosen_faults

EVERYTHING = ("all", "all again", "all once more")
"""Trainings that lack nothing."""


@dataclass(frozen=True, kw_only=True)
class Learner:
    """One training among the others."""

    name: str
    state: State
    faults: Faults
    arguments: argparse.Namespace


def main() -> None:
    """All trainings that were asked for, step by step together."""
    arguments = parse()
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    # Workers are forked: before anything starts threads on the GPU.
    packs = loader((arguments.seed, 0), arguments.batch, arguments.workers)
    first = next(packs)
    if arguments.device != "cpu":
        torch.cuda.set_device(arguments.device)
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    learners = [learner(name, arguments) for name in arguments.names]
    objects = prepare_validation(arguments.device, arguments.grid, known=arguments.look, fresh=arguments.look)
    generator = torch.Generator(arguments.device)
    rows: list[dict[str, Any]] = []
    begun = time.perf_counter()
    for number in range(arguments.steps):
        scenes = render(first if number == 0 else next(packs), grid=arguments.grid, device=arguments.device)
        for one in learners:
            learn(one, scenes, generator, number)
        if number + 1 in looks(arguments.steps):
            seconds = round(time.perf_counter() - begun, 1)
            rows += [row(one, objects, seconds) for one in learners]
            kept = {"arguments": vars(arguments), "torch": torch.__version__, "rows": rows}
            (out / "compare.json").write_text(json.dumps(kept, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    known = (*EVERYTHING, *CHANNELS, *FAULTS, *TERMS)
    parser.add_argument("--out", required=True)
    parser.add_argument("--names", default=",".join(known), help=f"comma-separated, of {', '.join(known)}")
    parser.add_argument("--steps", type=int, default=3000, help="of each; the rate falls to 0 there")
    parser.add_argument("--batch", type=int, default=8, help="objects a step")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--grid", type=int, default=64)
    parser.add_argument("--widths", default="16,16:40:80:128,24", help="as training.train has them")
    parser.add_argument("--workers", type=int, default=8, help="processes that draw objects")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--look", type=int, default=12, help="objects of each sort in a validation")
    arguments = parser.parse_args()
    arguments.names = tuple(arguments.names.split(","))
    unknown = set(arguments.names) - set(known)
    if unknown:
        parser.error(f"--names knows {', '.join(known)}, not {', '.join(sorted(unknown))}")
    return arguments


def learner(name: str, arguments: argparse.Namespace) -> Learner:
    """A training that lacks `name`; those of `EVERYTHING` lack nothing."""
    without = () if name in EVERYTHING else (name,)
    chance = arguments.seed + (EVERYTHING.index(name) if name in EVERYTHING else 0)
    mine = argparse.Namespace(**(vars(arguments) | {"without": without, "weights": "", "score": 1.0, "seconds": 0.0}))
    torch.manual_seed(chance)
    state = begin(mine, arguments.device)
    return Learner(name=name, state=state, faults=chosen_faults(without), arguments=mine)


def learn(one: Learner, scenes: Scenes, generator: torch.Generator, number: int) -> None:
    """One step; what befalls the objects is the same for all, but for what a training lacks of it."""
    set_rate(one.state, one.arguments)
    generator.manual_seed(int(np.random.SeedSequence([one.arguments.seed, 0, number]).generate_state(1)[0]))
    step(one.state, scenes, one.faults, generator, one.arguments, one.arguments.device, 1)


def looks(steps: int) -> set[int]:
    """The steps after which the validation set is looked at."""
    return {round(steps * share / 4) for share in (1, 2, 3, 4)}


def row(one: Learner, objects: dict[str, list[Scenes]], seconds: float) -> dict[str, Any]:
    """F-scores of one training as it stands."""
    scores = validate(one.state.mean, objects, one.arguments.without)
    found = {"name": one.name, "steps": one.state.steps, "seconds": seconds} | scores
    print(json.dumps(found), flush=True)
    return found


if __name__ == "__main__":
    main()
