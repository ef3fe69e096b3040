"""The samplers against golden trajectories: step by step, dense and sparse, guided, fused and steered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

import large_goldens as goldens
from large_goldens import exact_float32
from meshwright.errors import Cancelled, OptionError, ShapeError
from meshwright.models.reconviagen.large.nets.latent_flow import LatentFlow
from meshwright.models.reconviagen.large.sampling import (
    SamplerConfig,
    Step,
    Velocity,
    clean_latent,
    denormalised,
    fused_velocity,
    guided_velocity,
    no_condition,
    noise_of,
    sample,
    steps,
    time_grid,
)
from meshwright.models.reconviagen.large.sparse.tensor import SparseTensor
from meshwright.models.reconviagen.large.steering import SteeringConfig, overlap_loss, steered_velocity
from meshwright.types import SilentMonitor

__all__ = ["exact_float32"]

NAME = "samplers"
DENSE = ("euler", "cfg", "interval", "interval_rescale", "interval_cfg1", "interval_cfg0")
SPARSE = ("sparse_b1", "sparse_b2")
INJECTED = ("inject_multidiffusion", "inject_stochastic")
RUNS = (*DENSE, *SPARSE, *INJECTED, "ss_opt_delta_v")
State = dict[str, Tensor]


def dense_flow(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
    """The toy network of the goldens."""
    mean = cond.mean(dim=(1, 2)).reshape(-1, 1, 1, 1, 1)
    return torch.tanh(0.7 * x + mean * t.reshape(-1, 1, 1, 1, 1) / 1000) - 0.2 * x


def sparse_flow(x: SparseTensor, t: Tensor, cond: list[Tensor]) -> SparseTensor:
    """The same on voxels."""
    mean = torch.stack([one.mean(dim=(1, 2)) for one in cond]).mean(0)
    return x.replace(torch.tanh(0.7 * x.feats + x.rows((mean * t / 1000)[:, None])) - 0.2 * x.feats)


def toy_decoder(z: Tensor) -> Tensor:
    return 3 * functional.interpolate(z.mean(1, keepdim=True), scale_factor=4, mode="nearest")


def config_of(run: str) -> SamplerConfig:
    stored = goldens.entry(NAME)["config"][run]
    if "sampler" not in stored:
        return SamplerConfig(**stored["params"])
    return SamplerConfig.from_pipeline(
        {"name": stored["sampler"], "args": {"sigma_min": stored["sigma_min"]}, "params": stored["params"]}
    )


def prepared(run: str, golden: State, config: SamplerConfig) -> tuple[Velocity, Any]:
    """What to follow, and from where."""
    if run in SPARSE:
        noise = SparseTensor(golden[f"in.{run}.noise"], golden[f"in.{run}.coords"].int())
        views = [golden[f"in.{run}.cond_{i}"] for i in range(3)]
        return guided_velocity(sparse_flow, views, [torch.zeros_like(view) for view in views], config), noise
    noise, cond = golden["in.dense_noise"], golden["in.dense_cond"]
    if run in INJECTED:
        views = list(golden["in.dense_cond_views"][:, None])
        mode = run.removeprefix("inject_")
        return fused_velocity(dense_flow, views, torch.zeros_like(views[0]), config, mode), noise
    velocity = guided_velocity(dense_flow, cond, torch.zeros_like(cond), config)
    if run == "ss_opt_delta_v":
        stored = goldens.entry(NAME)["config"][run]
        steering = SteeringConfig(**{key: stored[key] for key in ("start_t", "lr", "inner_steps", "adam_betas")})
        velocity = steered_velocity(velocity, toy_decoder, golden["in.ss_target"], config.sigma_min, steering)
    return velocity, noise


def values(x: Any) -> Tensor:
    found: Tensor = x.feats if isinstance(x, SparseTensor) else x
    return found


def stacked(done: list[Step]) -> State:
    return {
        "samples": values(done[-1].x),
        "x_t": torch.stack([values(step.x) for step in done]),
        "x_0": torch.stack([values(step.clean) for step in done]),
    }


@torch.inference_mode()
def computed(run: str, device: str = "cpu", **changes: Any) -> State:
    config = replace(config_of(run), **changes)
    return stacked(list(steps(*prepared(run, goldens.load(NAME, device), config), config)))


@pytest.mark.parametrize("device", goldens.DEVICES)
@pytest.mark.parametrize("run", RUNS)
def test_agrees_with_golden(run: str, device: str, exact_float32: None) -> None:
    golden, found = goldens.load(NAME), computed(run, device)
    for part, value in found.items():
        if run != "ss_opt_delta_v" or part != "x_0":  # which that golden does not have
            goldens.assert_agrees(NAME, value, golden[f"out.{run}.{part}"])


@pytest.mark.parametrize("device", goldens.DEVICES)
def test_conversions_agree_with_golden(device: str) -> None:
    golden = goldens.load(NAME, device)
    x = golden["in.dense_noise"]
    v = 0.3 * x + 1
    goldens.assert_agrees(NAME, clean_latent(x, v, 0.37, 1e-5), golden["out.v_to_xstart_t0.37"])
    goldens.assert_agrees(NAME, noise_of(x, v, 0.37), golden["out.v_to_eps_t0.37"])
    assert not goldens.agrees(NAME, clean_latent(x, v, 0.38, 1e-5), golden["out.v_to_xstart_t0.37"])
    assert not goldens.agrees(NAME, noise_of(x, v, 0.38), golden["out.v_to_eps_t0.37"])


@pytest.mark.parametrize(("count", "rescale_t"), [(12, 3), (25, 3), (30, 5), (4, 1)])
def test_times_agree_with_golden(count: int, rescale_t: int) -> None:
    golden = goldens.load(NAME)[f"out.t_seq_steps{count}_rescale{rescale_t}"].numpy()
    found = time_grid(count, rescale_t)
    assert found == pytest.approx(golden, rel=0, abs=1e-15)
    assert time_grid(count, rescale_t + 0.1) != pytest.approx(golden, rel=0, abs=1e-3)


def test_every_output_is_compared() -> None:
    parts = {f"out.{run}.{part}" for run in RUNS for part in ("samples", "x_t", "x_0")} - {"out.ss_opt_delta_v.x_0"}
    others = {"out.v_to_xstart_t0.37", "out.v_to_eps_t0.37"}
    others |= {f"out.t_seq_steps{pair}" for pair in ("12_rescale3", "25_rescale3", "30_rescale5", "4_rescale1")}
    assert parts | others == {key for key in goldens.load(NAME) if key.startswith("out.")}


SPOILS: list[tuple[str, dict[str, Any]]] = [
    ("euler", {"rescale_t": 2.9}),
    ("cfg", {"cfg_strength": 2.0}),  # the other convention: (1 + s) v_cond - s v_uncond
    ("interval", {"cfg_strength": 6.5}),
    ("interval", {"cfg_interval": (0.0, 1.0)}),
    ("interval", {"cfg_interval": (0.6, 0.99)}),  # ends are included
    ("interval_rescale", {"guidance_rescale": 0.6}),
    ("interval_cfg1", {"cfg_strength": 1.1}),
    ("interval_cfg0", {"cfg_strength": 1.0}),
    ("sparse_b1", {"guidance_rescale": 0.0}),
    ("sparse_b2", {"guidance_rescale": 0.4}),
    ("inject_multidiffusion", {"cfg_strength": 4.0}),
    ("inject_stochastic", {"cfg_strength": 6.0}),
    ("ss_opt_delta_v", {"sigma_min": 0.1}),
]


@pytest.mark.parametrize(("run", "changes"), SPOILS)
def test_golden_refuses_other_settings(run: str, changes: dict[str, Any]) -> None:
    found = computed(run, **changes)
    assert not goldens.agrees(NAME, found["x_t"], goldens.load(NAME)[f"out.{run}.x_t"])


@pytest.mark.parametrize("run", RUNS)
def test_golden_refuses_a_spoiled_result(run: str) -> None:
    golden, found = goldens.load(NAME), computed(run)
    for wrong in (found["x_t"].flip(0), found["x_t"].roll(1, dims=2), found["x_t"] + 1e-3, found["x_t"][1:]):
        assert not goldens.agrees(NAME, wrong, golden[f"out.{run}.x_t"])


def test_views_in_another_order_are_noticed() -> None:
    golden = goldens.load(NAME)
    golden["in.dense_cond_views"] = golden["in.dense_cond_views"].flip(0)
    config = config_of("inject_stochastic")
    found = stacked(list(steps(*prepared("inject_stochastic", golden, config), config)))
    assert not goldens.agrees(NAME, found["x_t"], golden["out.inject_stochastic.x_t"])


@pytest.mark.parametrize("run", ["interval_rescale", "sparse_b1"])
def test_rescaled_guidance_by_hand(run: str) -> None:
    """The first step, in double precision. Whether spreads are those of a sample cancels in their ratio."""
    config = config_of(run)
    velocity, noise = prepared(run, goldens.load(NAME), config)
    plain = replace(config, guidance_rescale=0.0)
    least, part, x = config.sigma_min, config.guidance_rescale, values(noise).double()
    with_cond = values(prepared(run, goldens.load(NAME), replace(plain, cfg_strength=1.0))[0](noise, 1.0, 0)).double()
    guided = values(prepared(run, goldens.load(NAME), plain)[0](noise, 1.0, 0)).double()
    aim, clean = (1 - least) * x - with_cond, (1 - least) * x - guided
    expected = (1 - least) * x - clean * (part * aim.std() / clean.std() + 1 - part)
    torch.testing.assert_close(values(velocity(noise, 1.0, 0)).double(), expected, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_batch_elements_do_not_hear_each_other() -> None:
    golden, config = goldens.load(NAME), config_of("sparse_b2")
    velocity, noise = prepared("sparse_b2", golden, config)
    together = sample(velocity, noise, config)
    for i, (start, stop) in enumerate(noise.spans):
        views = [golden[f"in.sparse_b2.cond_{k}"][i : i + 1] for k in range(3)]
        coords = noise.coords[start:stop] * torch.tensor([0, 1, 1, 1], dtype=torch.int32)
        alone = guided_velocity(sparse_flow, views, [torch.zeros_like(view) for view in views], config)
        found = sample(alone, SparseTensor(noise.feats[start:stop], coords), config)
        torch.testing.assert_close(found.feats, together.feats[start:stop], rtol=0, atol=1e-5)


@pytest.mark.parametrize("device", goldens.DEVICES)
@pytest.mark.parametrize("unconditional", ["zeros of each view", "one token"])
@torch.inference_mode()
def test_sampling_with_the_network_agrees(unconditional: str, device: str, exact_float32: None) -> None:
    name = "slat_sampling"
    golden, stored = goldens.load(name, device), goldens.entry(name)["config"]
    config = SamplerConfig(**stored["sampler"])
    network = latent_flow(device)
    views = [golden["in.cond_0"], golden["in.cond_1"]]
    none = [torch.zeros_like(view) for view in views] if unconditional != "one token" else no_condition(views[0])
    noise = SparseTensor(golden["in.noise"], golden["in.coords"])
    done = list(steps(guided_velocity(network, views, none, config), noise, config))
    goldens.assert_agrees(name, stacked(done)["x_t"], golden["out.x_t"])
    goldens.assert_agrees(name, done[-1].x.feats, golden["out.samples"])
    latent = denormalised(done[-1].x, stored["mean"], stored["std"])
    goldens.assert_agrees(name, latent.feats, golden["out.slat_denormalised"])
    assert not goldens.agrees(name, denormalised(done[-1].x, stored["std"], stored["mean"]).feats, latent.feats)


@pytest.mark.parametrize("spoil", ["a view less", "views summed", "no rescale", "channels"])
@torch.inference_mode()
def test_sampling_golden_refuses_what_is_spoiled(spoil: str) -> None:
    name = "slat_sampling"
    golden, stored = goldens.load(name), goldens.entry(name)["config"]
    config = SamplerConfig(**stored["sampler"])
    views = [golden["in.cond_0"], golden["in.cond_1"]]
    noise = golden["in.noise"]
    if spoil == "a view less":
        views = views[:1]
    elif spoil == "views summed":
        views = [views[0] + views[1]]
    elif spoil == "no rescale":
        config = replace(config, guidance_rescale=0.0)
    else:
        noise = noise.roll(1, dims=1)
    velocity = guided_velocity(latent_flow("cpu"), views, no_condition(views[0]), config)
    found = sample(velocity, SparseTensor(noise, golden["in.coords"]), config)
    assert not goldens.agrees(name, found.feats, golden["out.samples"])


def latent_flow(device: str) -> LatentFlow:
    network = LatentFlow(**goldens.entry("slat_flow")["config"])
    network.load_state_dict(goldens.weights("slat_flow"), strict=True)
    return network.to(device)


# --- no goldens needed -----------------------------------------------------------------------------------------------


def test_sample_is_the_last_step_and_says_how_far_it_is() -> None:
    config = SamplerConfig(steps=4)
    noise, cond = torch.randn(2, 3, 2, 2, 2, generator=torch.Generator().manual_seed(0)), torch.ones(2, 5, 6)
    velocity = guided_velocity(dense_flow, cond, no_condition(cond), config)
    counted: list[int] = []
    found = sample(velocity, noise, config, report=counted.append)
    assert torch.equal(found, list(steps(velocity, noise, config))[-1].x)
    assert counted == [1, 2, 3, 4]


def test_a_wish_to_stop_is_seen_between_steps() -> None:
    asked = 0

    def flow(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        nonlocal asked
        asked += 1
        return x

    config = SamplerConfig(steps=10, cfg_strength=1.0)
    velocity = guided_velocity(flow, torch.ones(1, 1, 1), torch.zeros(1, 1, 1), config)
    with pytest.raises(Cancelled):
        sample(velocity, torch.ones(1, 1), config, monitor=SilentMonitor(should_stop=lambda: asked == 3))
    assert asked == 3


@pytest.mark.parametrize(
    ("strength", "interval", "asked"),
    [(7.5, (0.0, 1.0), 8), (1.0, (0.0, 1.0), 4), (0.0, (0.0, 1.0), 4), (7.5, (2.0, 3.0), 4)],
)
def test_the_network_is_asked_twice_only_where_it_matters(
    strength: float, interval: tuple[float, float], asked: int
) -> None:
    times: list[float] = []

    def flow(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        assert t.dtype == torch.float32 and t.shape == (2,)
        times.append(float(t[0]))
        return x

    config = SamplerConfig(steps=4, rescale_t=1.0, cfg_strength=strength, cfg_interval=interval)
    cond = torch.ones(2, 1, 1)
    sample(guided_velocity(flow, cond, no_condition(cond), config), torch.ones(2, 3), config)
    assert len(times) == asked and times[0] == 1000.0 and times[-1] == 250.0


def test_a_straight_flow_arrives_in_one_step() -> None:
    """Velocity noise - clean, everywhere the same: any number of Euler steps ends at the clean latent."""
    noise, clean = torch.randn(2, 8, generator=torch.Generator().manual_seed(0)), torch.ones(2, 8)
    for count in (1, 7):
        config = SamplerConfig(steps=count, cfg_strength=1.0)
        found = sample(lambda x, t, index: noise - clean, noise, config)
        torch.testing.assert_close(found, clean, rtol=0, atol=1e-5)


def test_steering_fills_more_of_what_is_asked_for() -> None:
    filled = torch.zeros(1, 1, 16, 16, 16)
    filled[..., :8] = 1
    noise = torch.randn(1, 8, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    config = SamplerConfig(steps=6, cfg_strength=1.0)
    plain = guided_velocity(dense_flow, torch.ones(1, 1, 1), torch.zeros(1, 1, 1), config)
    steered = steered_velocity(plain, toy_decoder, filled, config.sigma_min)
    before = overlap_loss(toy_decoder(sample(plain, noise, config)), filled)
    after = overlap_loss(toy_decoder(sample(steered, noise, config)), filled)
    assert after < before - 0.1
    with pytest.raises(ShapeError, match="are decoded"):
        sample(steered_velocity(plain, toy_decoder, filled[..., :8], config.sigma_min), noise, config)


def test_overlap_loss_by_hand() -> None:
    filled = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 1, 1, 4)
    assert float(overlap_loss(filled * 200 - 100, filled)) == pytest.approx(0)
    # Nothing in common: 1 - 1 / (2 + 2 + 1).
    assert float(overlap_loss(100 - filled * 200, filled)) == pytest.approx(0.8)


def test_pipelines_name_their_sampler() -> None:
    params = {"steps": 25, "cfg_strength": 5.0, "cfg_interval": [0.5, 1.0], "rescale_t": 3.0}
    published = {"name": "FlowEulerGuidanceIntervalSampler", "args": {"sigma_min": 1e-5}, "params": params}
    assert SamplerConfig.from_pipeline(published) == SamplerConfig()
    plain = SamplerConfig.from_pipeline({"name": "FlowEulerSampler", "args": {}, "params": {"steps": 3}})
    assert (plain.cfg_strength, plain.rescale_t, plain.steps) == (1.0, 1.0, 3)
    with pytest.raises(OptionError, match="'DDIM' is not known"):
        SamplerConfig.from_pipeline({"name": "DDIM"})
    with pytest.raises(OptionError, match="eta, order is not known"):
        SamplerConfig.from_pipeline(published | {"params": {"eta": 1, "order": 2}})


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"steps": 0}, "steps=0"),
        ({"rescale_t": 0}, "rescale_t=0"),
        ({"cfg_strength": float("nan")}, "cfg_strength=nan"),
        ({"cfg_interval": (1.0, 0.5)}, "cfg_interval="),
        ({"guidance_rescale": 2}, "guidance_rescale=2"),
        ({"sigma_min": 1}, "sigma_min=1"),
        ({"steps": 0, "guidance_rescale": 2}, "steps=0.*guidance_rescale=2"),
    ],
)
def test_settings_without_meaning_are_named(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionError, match=named):
        SamplerConfig(**wrong)


def test_fusions_without_meaning_are_named() -> None:
    cond, config = torch.ones(1, 1, 1), SamplerConfig()

    def fuse(**changes: Any) -> Velocity:
        given = {"conds": [cond], "no_cond": cond, "config": config, "mode": "stochastic"} | changes
        return fused_velocity(dense_flow, **given)

    with pytest.raises(OptionError, match="cannot be fused by 'mean'"):
        fuse(mode="mean")
    with pytest.raises(OptionError, match="no condition"):
        fuse(conds=[])
    with pytest.raises(OptionError, match="no guidance_rescale"):
        fuse(config=replace(config, guidance_rescale=0.5))
    with pytest.raises(OptionError, match="start_t=2"):
        SteeringConfig(start_t=2)
