"""What lies in the package is what `web/` builds to, so nobody edits one without the other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "web"
BUILT = ROOT / "src" / "meshwright" / "service" / "web"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_built_files_are_those_of_a_fresh_build(tmp_path: Path) -> None:
    if shutil.which("node") is None or not (WEB / "node_modules" / ".installed-lock").exists():
        pytest.skip("Node or the packages of web/package-lock.json are missing (scripts/test installs them)")
    if (WEB / "node_modules" / ".installed-lock").read_bytes() != (WEB / "package-lock.json").read_bytes():
        pytest.skip("node_modules is not what web/package-lock.json names (scripts/test installs it)")
    for command in (["tsc", "--noEmit"], ["vite", "build", "--outDir", str(tmp_path / "web"), "--logLevel", "warn"]):
        done = subprocess.run(
            [str(WEB / "node_modules" / ".bin" / command[0]), *command[1:]], cwd=WEB, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    fresh = contents(tmp_path / "web")
    kept = contents(BUILT)
    assert sorted(fresh) == sorted(kept), "build web/ anew: npm --prefix web run build"
    assert [name for name in fresh if fresh[name] != kept[name]] == []


def test_the_lock_names_no_registry() -> None:
    lock = json.loads((WEB / "package-lock.json").read_text())
    assert [name for name, entry in lock["packages"].items() if "resolved" in entry] == []
    # Packages of other systems are named, or `npm ci` refuses the lock; some without their sums.
    unsummed = {name for name, entry in lock["packages"].items() if name and "integrity" not in entry}
    assert all(lock["packages"][name].get("optional") for name in unsummed)
    assert not any(name.endswith(("linux-x64", "linux-x64-gnu")) for name in unsummed)


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    html = (BUILT / "index.html").read_text()
    assert "<style" not in html
    assert " style=" not in html
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"\bon[a-z]+=", html)
    assert re.findall(r'(?:src|href)="(?!\./|#|docs")([^"]+)"', html) == []
    css = b"".join(data for name, data in contents(BUILT).items() if name.endswith(".css"))
    assert b"http" not in css
    assert b"@import" not in css
