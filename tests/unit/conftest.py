"""Lets the tests here import what they share (`tests/scenes.py`): import mode "importlib" adds no folder to the path."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = str(Path(__file__).resolve().parents[1])
if TESTS not in sys.path:
    sys.path.insert(0, TESTS)
