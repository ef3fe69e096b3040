"""Our Adam is torch's, less the compiler that torch's class draws in."""

from __future__ import annotations

import subprocess
import sys

import torch

from meshwright.models.adam import Adam


def test_it_moves_as_torchs_does_to_the_last_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(4, 3, generator=generator), torch.randn(5, generator=generator)]
    ours, theirs = ([torch.nn.Parameter(value.clone()) for value in start] for _ in range(2))
    one = Adam([{"params": ours[:1], "lr": 0.1}, {"params": ours[1:]}], lr=0.02, betas=(0.9, 0.98))
    other = torch.optim.Adam([{"params": theirs[:1], "lr": 0.1}, {"params": theirs[1:]}], lr=0.02, betas=(0.9, 0.98))
    for step in range(4):
        gradients = [torch.randn(value.shape, generator=generator) for value in start]
        for parameters, optimiser in ((ours, one), (theirs, other)):
            optimiser.zero_grad()
            for parameter, gradient in zip(parameters, gradients, strict=True):
                # A parameter without a gradient stays where it is, and its step is not counted.
                parameter.grad = None if step == 2 and parameter is parameters[1] else gradient.clone()
            optimiser.param_groups[0]["lr"] = 0.1 / (1 + step)
            optimiser.step()
    for mine, its in zip(ours, theirs, strict=True):
        assert torch.equal(mine, its)
        assert torch.equal(one.state[mine]["exp_avg_sq"], other.state[its]["exp_avg_sq"])
        assert float(one.state[mine]["step"]) == float(other.state[its]["step"])


def test_it_leaves_torchs_compiler_alone() -> None:
    program = (
        "import sys, torch; from meshwright.models.adam import Adam; "
        "p = torch.nn.Parameter(torch.ones(2)); descent = Adam([p]); p.sum().backward(); "
        "descent.step(); descent.zero_grad(); assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
