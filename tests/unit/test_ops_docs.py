"""The examples in docs/rendering.md and docs/light.md run, and the first finds what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rendering.md"


def test_the_example_finds_the_square(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(program, str(PAGE), "exec"), names)
    torch.testing.assert_close(names["shift"], torch.tensor([0.22, -0.13]), atol=0.01, rtol=0, check_stride=False)
    torch.testing.assert_close(names["scale"], torch.tensor(1.1), atol=0.01, rtol=0)
    assert "tensor" in capsys.readouterr().out


def test_the_example_of_light_runs() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.with_name("light.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(program, "light.md", "exec"), names)
    colour, light = names["colour"], names["light"]
    assert colour.shape == (1000, 3) and light.texels.grad.abs().sum() > 0  # type: ignore[attr-defined]
