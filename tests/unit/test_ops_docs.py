"""The example in docs/rendering.md runs and finds what it says."""

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
