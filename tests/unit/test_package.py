"""What `import meshwright` promises: quick, and without the heavy libraries."""

from __future__ import annotations

import re
import subprocess
import sys

import meshwright


def test_version_is_plain() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", meshwright.__version__)


def test_import_brings_no_heavy_library() -> None:
    program = (
        "import sys, meshwright; "
        "heavy = {'torch', 'warp', 'trimesh', 'xatlas', 'scipy', 'skimage', 'typer', 'rich'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
