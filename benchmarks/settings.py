"""Values of a frozen configuration changed from the command line, such as `levels.2.steps=400 carve=None`."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

__all__ = ["changed"]

Config = TypeVar("Config")


class _Change(NamedTuple):
    path: list[str]
    value: Any
    text: str


def changed(config: Config, settings: Sequence[str]) -> Config:
    """With other values, all at once: what a configuration checks has to fit only in the end.

    Args:
        config: A dataclass; what it holds may be dataclasses and tuples of such again.
        settings: `NAME=VALUE` each. A name leads through the configuration with points between, a number is a place in
            a tuple. A value is written as in Python; what is none is taken as text.
    Raises:
        SystemExit: There is no such name; the message has those that there are.
    """
    changes = []
    for text in settings:
        name, sign, value = text.partition("=")
        if not sign:
            raise SystemExit(f"{text!r} is no NAME=VALUE.")
        changes.append(_Change(name.split("."), _value(value), text))
    found: Config = _with(config, changes)
    return found


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def _with(whole: Any, changes: Sequence[_Change]) -> Any:
    by_name: dict[str, list[_Change]] = {}
    for change in changes:
        if not change.path:
            whole, by_name = change.value, {}
        else:
            by_name.setdefault(change.path[0], []).append(change._replace(path=change.path[1:]))
    if not by_name:
        return whole
    parts = _parts(whole)
    for name, inner in by_name.items():
        if name not in parts:
            raise SystemExit(
                f"{inner[0].text!r}: there is no {name!r}; use one of {', '.join(parts) or 'nothing more'}."
            )
        parts[name] = _with(parts[name], inner)
    if isinstance(whole, tuple):
        return tuple(parts.values())
    return dataclasses.replace(whole, **{name: parts[name] for name in by_name})


def _parts(whole: Any) -> dict[str, Any]:
    """What it holds, by name or place."""
    if isinstance(whole, tuple):
        return {str(place): part for place, part in enumerate(whole)}
    if dataclasses.is_dataclass(whole):
        return {field.name: getattr(whole, field.name) for field in dataclasses.fields(whole)}
    return {}
