"""The mean of some checkpoints of one training: `python -m training.average OUT.safetensors A.safetensors B...`.

States that lie some hundred steps apart err differently; the mean of their weights is often better than each (Wortsman
et al., "Model soups", arXiv:2203.05482). Prints the F-scores on the validation set, by which to choose.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from meshwright.models.reconviagen.weights import Checkpoint, load_checkpoint
from training.validation import prepare_validation, validate

__all__ = ["mean_of"]


def main() -> None:
    """Makes the mean, looks at it, and writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--look", type=int, default=12, help="objects of each sort in the validation")
    arguments = parser.parse_args()
    made = mean_of([load_checkpoint(path, "cpu") for path in arguments.checkpoints])
    save(made, arguments.out)
    prior = made.prior.to(arguments.device)
    grid = int(made.about["grid"])
    objects = prepare_validation(arguments.device, grid, known=arguments.look, fresh=arguments.look)
    print(json.dumps(validate(prior, objects, ())))


def mean_of(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """The last of them with the mean of the weights of all.

    Raises:
        ValueError: They are not of one shape.
    """
    states = [checkpoint.prior.state_dict() for checkpoint in checkpoints]
    shapes = [{name: tuple(value.shape) for name, value in state.items()} for state in states]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError("The checkpoints have networks of different widths; a mean needs those of one training.")
    mean = {name: torch.stack([state[name].float() for state in states]).mean(0) for name in states[0]}
    last = checkpoints[-1]
    last.prior.load_state_dict(mean)
    return last


def save(checkpoint: Checkpoint, out: Path) -> None:
    """In half precision, as training delivers them."""
    from safetensors.torch import save_file

    weights = {name: value.half().contiguous() for name, value in checkpoint.prior.state_dict().items()}
    save_file(weights, out, metadata=dict(checkpoint.about))


if __name__ == "__main__":
    main()
