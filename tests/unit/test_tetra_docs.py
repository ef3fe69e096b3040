"""The example in docs/tetrahedra.md runs and finds what it says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tetra_scenes import is_closed

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tetrahedra.md"


def test_the_example_finds_the_ellipsoid(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(program, str(PAGE), "exec"), names)
    mesh = names["mesh"]
    np.testing.assert_allclose(mesh.vertices.max(0), [0.5, 0.6, 0.8], atol=0.02)
    assert is_closed(mesh)
    assert "[" in capsys.readouterr().out
