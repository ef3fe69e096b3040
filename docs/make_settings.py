"""Writes the table of settings in docs/service.md from the source: python docs/make_settings.py"""

from __future__ import annotations

import ast
import inspect
import itertools
from pathlib import Path

from meshwright.service import settings

PAGE = Path(__file__).with_name("service.md")
BEGIN, END = "<!-- settings begin -->\n", "<!-- settings end -->\n"
LEFT_OUT = {"model_factory"}
"""For tests of the service itself; nobody else's concern."""


def settings_table() -> str:
    """One row per setting: name in the environment, default, meaning; a heading where the source has one."""
    source = inspect.getsource(settings)
    (body,) = [
        node.body for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "Settings"
    ]
    lines = source.splitlines()
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    group = ""
    for node, after in itertools.pairwise(body):
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        name = node.target.id
        group = next(
            (text.strip()[2:] for text in reversed(lines[: node.lineno - 1]) if text.startswith("    # ")), group
        )
        field = settings.Settings.model_fields[name]
        if name in LEFT_OUT:
            continue
        assert isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant), f"{name} is not described"
        meaning = inspect.cleandoc(str(after.value.value)).replace("\n", " ").replace("|", "\\|")
        if f"| **{group}** | | |" not in rows:
            rows.append(f"| **{group}** | | |")
        rows.append(f"| `MESHWRIGHT_{name.upper()}` | {_default(name, field.default)} | {meaning} |")
    return "\n".join(rows) + "\n"


def _default(name: str, value: object) -> str:
    if name == "data_dir":
        return "`~/.local/share/meshwright`"
    if value is None or value == "":
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def replaced(page: str) -> str:
    """The page with the table as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{settings_table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
