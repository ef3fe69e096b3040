"""Adam without what comes with torch's class of that name: that one imports torch's compiler when it is made, which
takes one to two seconds, in a program of ten; nothing here is compiled by it. The arithmetic is torch's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.optim.adam import adam

__all__ = ["Adam"]


class Adam:
    """Moves parameters by their gradients; results are bit for bit those of `torch.optim.Adam`.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.

    Args:
        parameters: Tensors, or groups of them as mappings with `params` and `lr`.
        lr: Learning rate of groups that say nothing else.
        betas: How long the means of gradients and of their squares remember.
        eps: Added to the root of the latter.
        capturable: Whether a step may be recorded (see `meshwright.replay`); on a GPU only.

    Attributes:
        param_groups: The groups; their `lr` may be changed between steps, or be a tensor on the device.
        state: By parameter: `step`, `exp_avg` and `exp_avg_sq`, named as torch names them.
    """

    def __init__(
        self,
        parameters: Iterable[torch.Tensor] | Iterable[Mapping[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        capturable: bool = False,
    ) -> None:
        given = list(parameters)
        groups = [part for part in given if isinstance(part, Mapping)] or [{"params": given}]
        self.param_groups: list[dict[str, Any]] = [
            {"lr": lr, **group, "params": list(group["params"])} for group in groups
        ]
        self.betas, self.eps, self.capturable = betas, eps, capturable
        self.state: dict[torch.Tensor, dict[str, torch.Tensor]] = {
            parameter: {
                # On the host where the step may be read there: its powers are numbers then.
                "step": torch.zeros((), device=parameter.device if capturable else "cpu"),
                "exp_avg": torch.zeros_like(parameter, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
            }
            for group in self.param_groups
            for parameter in group["params"]
        }

    @torch.no_grad()
    def step(self) -> None:
        """Moves every parameter that has a gradient."""
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not moved:
                continue
            kept = [self.state[parameter] for parameter in moved]
            adam(
                moved,
                [parameter.grad for parameter in moved],
                [state["exp_avg"] for state in kept],
                [state["exp_avg_sq"] for state in kept],
                [],
                [state["step"] for state in kept],
                capturable=self.capturable,
                amsgrad=False,
                beta1=self.betas[0],
                beta2=self.betas[1],
                lr=group["lr"],
                weight_decay=0.0,
                eps=self.eps,
                maximize=False,
            )

    def zero_grad(self) -> None:
        """Drops the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
