"""From noise to a latent: a flow followed from time 1 to time 0 in Euler steps, its velocity guided by the condition.

Letters: x latent, v velocity, t time from 1 (noise) to 0 (clean), s = `sigma_min`, B batch elements, N views.
Latents are dense tensors [B, ...] or sparse tensors; all arithmetic is on their numbers alone. A flow network is asked
with 1000 t. Noise is drawn by the caller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from meshwright.errors import OptionError
from meshwright.models.reconviagen.large.sparse.tensor import SparseTensor
from meshwright.types import Monitor, SilentMonitor

__all__ = [
    "FUSIONS",
    "Flow",
    "SamplerConfig",
    "Step",
    "Velocity",
    "clean_latent",
    "denormalised",
    "fused_velocity",
    "guided_velocity",
    "no_condition",
    "noise_of",
    "sample",
    "steps",
    "time_grid",
]

Latent = TypeVar("Latent", Tensor, SparseTensor)
Cond = Tensor | Sequence[Tensor]
"""[B, K, C], or one such tensor a view (see the networks)."""

FUSIONS = ("stochastic", "multidiffusion")
"""Ways to make one velocity of several conditions outside the network (see `fused_velocity`)."""


class Flow(Protocol):
    """A flow network: latent, times 0 to 1000 [B], condition -> velocity like the latent."""

    def __call__(self, x: Any, t: Tensor, cond: Any, /) -> Any: ...


class Velocity(Protocol):
    """The velocity to follow: latent, time 1 to 0, number of the step -> like the latent."""

    def __call__(self, x: Any, t: float, index: int, /) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """How a flow is followed; the fields are called as in published pipelines."""

    steps: int = 25
    """Number of Euler steps."""
    rescale_t: float = 3.0
    """Above 1 more of the steps lie at early times, where the latent is mostly noise; 1 is even."""
    cfg_strength: float = 5.0
    """s v_cond + (1 - s) v_uncond: 1 is no guidance, 0 is no condition."""
    cfg_interval: tuple[float, float] = (0.5, 1.0)
    """Times between which there is guidance, ends included; elsewhere the condition alone counts."""
    guidance_rescale: float = 0.0
    """How far the spread of the guided clean latent is brought back to the spread without guidance, 0 to 1."""
    sigma_min: float = 1e-5
    """Noise that is left at time 0."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cfg_interval", tuple(self.cfg_interval))
        wrong = []
        if self.steps < 1:
            wrong.append(f"steps={self.steps}: use 1 or more")
        if not (math.isfinite(self.rescale_t) and self.rescale_t > 0):
            wrong.append(f"rescale_t={self.rescale_t}: use a number above 0")
        if not math.isfinite(self.cfg_strength):
            wrong.append(f"cfg_strength={self.cfg_strength}: use a finite number")
        if len(self.cfg_interval) != 2 or not self.cfg_interval[0] <= self.cfg_interval[1]:
            wrong.append(f"cfg_interval={self.cfg_interval}: use a first and a last time")
        if not 0 <= self.guidance_rescale <= 1:
            wrong.append(f"guidance_rescale={self.guidance_rescale}: use 0 to 1")
        if not 0 <= self.sigma_min < 1:
            wrong.append(f"sigma_min={self.sigma_min}: use 0 or a small number")
        if wrong:
            raise OptionError(f"The sampler cannot do {'; '.join(wrong)}.", hint="Mend what is named.")

    @classmethod
    def from_pipeline(cls, sampler: Mapping[str, Any]) -> SamplerConfig:
        """The config that a published pipeline gives for one of its samplers.

        Args:
            sampler: `{"name": ..., "args": {"sigma_min": ...}, "params": {...}}`.
        Raises:
            OptionError: The sampler is of another kind, or has parameters that are not known here.
        """
        name, params = sampler.get("name"), dict(sampler.get("params", {}))
        plain: dict[str, Any] = {"rescale_t": 1.0}
        if name == "FlowEulerSampler":
            plain |= {"cfg_strength": 1.0, "cfg_interval": (0.0, 1.0)}
        elif name == "FlowEulerCfgSampler":
            plain |= {"cfg_interval": (0.0, 1.0)}
        elif name != "FlowEulerGuidanceIntervalSampler":
            raise OptionError(f"The sampler {name!r} is not known here.", hint="Use FlowEulerGuidanceIntervalSampler.")
        given = {**params, **dict(sampler.get("args", {}))}
        unknown = sorted(given.keys() - cls.__dataclass_fields__.keys())
        if unknown:
            raise OptionError(f"The sampler's {', '.join(unknown)} is not known here.", hint="Take it out.")
        return replace(cls(), **(plain | given))


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step done.

    Attributes:
        index: From 0.
        t: The time it began at.
        x: The latent after it.
        clean: The clean latent that the velocity at its beginning points to.
    """

    index: int
    t: float
    x: Any
    clean: Any


def time_grid(count: int, rescale_t: float) -> list[float]:
    """The `count` + 1 times from 1 to 0, in double precision."""
    even = torch.linspace(1, 0, count + 1, dtype=torch.float64)
    times: list[float] = (rescale_t * even / (1 + (rescale_t - 1) * even)).tolist()
    return times


def clean_latent(x: Tensor, v: Tensor, t: float, sigma_min: float) -> Tensor:
    """Where a velocity points to: (1 - s) x - (s + (1 - s) t) v."""
    return (1 - sigma_min) * x - (sigma_min + (1 - sigma_min) * t) * v


def noise_of(x: Tensor, v: Tensor, t: float) -> Tensor:
    """Where it comes from: (1 - t) v + x."""
    return (1 - t) * v + x


def no_condition(cond: Tensor) -> Tensor:
    """What stands for no condition: zeros [B, 1, C].

    The published pipeline takes as many zero tokens as the condition has, and as many views. Attention to equal tokens
    gives the same as attention to one of them, so one will do and costs next to nothing.
    """
    return torch.zeros_like(cond[:, :1])


def guided_velocity(flow: Flow, cond: Cond, no_cond: Cond, config: SamplerConfig) -> Velocity:
    """The velocity under one condition (fused from the views by the network), with guidance in its interval."""

    def velocity(x: Any, t: float, index: int) -> Any:
        del index
        low, high = config.cfg_interval
        strength = config.cfg_strength if low <= t <= high else 1.0
        if strength == 1:
            return _ask(flow, x, t, cond)
        if strength == 0:
            return _ask(flow, x, t, no_cond)
        with_cond, without = _values(_ask(flow, x, t, cond)), _values(_ask(flow, x, t, no_cond))
        guided = strength * with_cond + (1 - strength) * without
        if config.guidance_rescale > 0:
            guided = _respread(x, guided, with_cond, t, config)
        return _like(x, guided)

    return velocity


def fused_velocity(flow: Flow, conds: Sequence[Cond], no_cond: Cond, config: SamplerConfig, mode: str) -> Velocity:
    """The velocity under N conditions, one a view, for networks that take one at a time.

    Args:
        flow: The network.
        conds: N conditions.
        no_cond: What stands for none.
        config: `guidance_rescale` must be 0.
        mode: "stochastic": the steps take one condition each, in turn. "multidiffusion": the mean over all conditions;
            its guidance is stronger by one than the same `cfg_strength` elsewhere: (1 + s) v_cond - s v_uncond.
    Raises:
        OptionError: No such mode, no condition, or a `guidance_rescale`.
    """
    if mode not in FUSIONS:
        raise OptionError(f"Views cannot be fused by {mode!r}.", hint=f"Use one of {', '.join(FUSIONS)}.")
    if not conds:
        raise OptionError("There is no condition to fuse.", hint="Pass one a view.")
    if config.guidance_rescale:
        raise OptionError("Fused views have no guidance_rescale.", hint="Set it to 0.")

    def stochastic(x: Any, t: float, index: int) -> Any:
        return guided_velocity(flow, conds[index % len(conds)], no_cond, config)(x, t, index)

    def multidiffusion(x: Any, t: float, index: int) -> Any:
        del index
        mean = torch.stack([_values(_ask(flow, x, t, cond)) for cond in conds]).mean(0)
        low, high = config.cfg_interval
        if low <= t <= high:
            without = _values(_ask(flow, x, t, no_cond))
            mean = (1 + config.cfg_strength) * mean - config.cfg_strength * without
        return _like(x, mean)

    return stochastic if mode == "stochastic" else multidiffusion


def steps(velocity: Velocity, noise: Latent, config: SamplerConfig) -> Iterator[Step]:
    """Follows a velocity step by step; the caller may stop at any."""
    times, x = time_grid(config.steps, config.rescale_t), noise
    for index, (t, after) in enumerate(pairwise(times)):
        v = _values(velocity(x, t, index))
        clean = _like(x, clean_latent(_values(x), v, t, config.sigma_min))
        x = _like(x, _values(x) - (t - after) * v)
        yield Step(index=index, t=t, x=x, clean=clean)


def sample(
    velocity: Velocity,
    noise: Latent,
    config: SamplerConfig,
    *,
    monitor: Monitor | None = None,
    report: Callable[[int], None] | None = None,
) -> Latent:
    """Follows a velocity to its end.

    Args:
        velocity: See `guided_velocity`.
        noise: The latent at time 1, float32.
        config: How.
        monitor: Asked before every step whether to go on.
        report: Told after every step how many are done.
    Returns:
        The clean latent, of the kind of `noise`.
    """
    monitor = monitor or SilentMonitor()
    monitor.check()
    x = noise
    for step in steps(velocity, noise, config):
        x = step.x
        if report is not None:
            report(step.index + 1)
        monitor.check()
    return x


def denormalised(latent: SparseTensor, mean: Sequence[float], std: Sequence[float]) -> SparseTensor:
    """Back from the unit spread that the flow works in: x std + mean, by channels."""
    scale, offset = (torch.tensor(tuple(row), dtype=latent.dtype, device=latent.device) for row in (std, mean))
    return latent.replace(latent.feats * scale + offset)


def _ask(flow: Flow, x: Any, t: float, cond: Cond) -> Any:
    values = _values(x)
    batch = x.batch if isinstance(x, SparseTensor) else len(values)
    return flow(x, torch.full((batch,), 1000 * t, dtype=torch.float32, device=values.device), cond)


def _values(x: Any) -> Tensor:
    values: Tensor = x.feats if isinstance(x, SparseTensor) else x
    return values


def _like(x: Latent, values: Tensor) -> Latent:
    return x.replace(values) if isinstance(x, SparseTensor) else values


def _respread(x: Any, guided: Tensor, with_cond: Tensor, t: float, config: SamplerConfig) -> Tensor:
    """The velocity to a clean latent whose spread is nearer to the one without guidance."""
    values, least = _values(x), config.sigma_min
    aim = clean_latent(values, with_cond, t, least)
    clean = clean_latent(values, guided, t, least)
    rescaled = clean * (_spread(x, aim) / _spread(x, clean))
    mixed = config.guidance_rescale * rescaled + (1 - config.guidance_rescale) * clean
    return ((1 - least) * values - mixed) / (least + (1 - least) * t)


def _spread(x: Any, values: Tensor) -> Tensor:
    """Standard deviation of each batch element: of a sample for dense latents, of all there is for sparse ones."""
    if isinstance(x, SparseTensor):
        return x.rows(torch.stack([values[start:stop].std(correction=0) for start, stop in x.spans])[:, None])
    return values.std(dim=tuple(range(1, values.ndim)), keepdim=True)
