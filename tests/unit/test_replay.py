"""Replayed steps, as far as a CPU can show them: plain calls."""

from __future__ import annotations

import pytest
import torch

from meshwright.replay import Replay


@pytest.mark.parametrize("graphs", [True, False])
def test_on_a_cpu_a_replay_is_a_call(graphs: bool) -> None:
    total = torch.zeros(2)
    step = Replay(lambda: total.add_(1), "cpu", graphs=graphs)  # type: ignore[arg-type, return-value]
    for _ in range(5):
        step()
    assert total.tolist() == [5, 5]
    assert step.graph is None


def test_what_a_step_raises_comes_out() -> None:
    def step() -> None:
        raise ValueError("of the step")

    with pytest.raises(ValueError, match="of the step"):
        Replay(step, "cpu")()
