"""Values of a frozen configuration changed from the command line, such as `levels.2.steps=400 carve=None`."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

__all__ = ["changed"]

Config = TypeVar("Config")


def changed(config: Config, settings: Sequence[str]) -> Config:
    """With other values, one after the other.

    Args:
        config: A dataclass; what it holds may be dataclasses and tuples of such again.
        settings: `NAME=VALUE` each. A name leads through the configuration with points between, a number is a place in
            a tuple. A value is written as in Python; what is none is taken as text.
    Raises:
        SystemExit: There is no such name; the message has those that there are.
    """
    for setting in settings:
        name, sign, text = setting.partition("=")
        if not sign:
            raise SystemExit(f"{setting!r} is no NAME=VALUE.")
        config = _put(config, name.split("."), _value(text), setting)
    return config


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def _put(whole: Any, path: Sequence[str], value: Any, setting: str) -> Any:
    if not path:
        return value
    name, *rest = path
    if isinstance(whole, tuple):
        if not name.isdecimal() or int(name) >= len(whole):
            raise SystemExit(f"{setting!r}: {name!r} is no place in {len(whole)} of them; use 0 to {len(whole) - 1}.")
        place = int(name)
        return (*whole[:place], _put(whole[place], rest, value, setting), *whole[place + 1 :])
    names = [field.name for field in dataclasses.fields(whole)] if dataclasses.is_dataclass(whole) else []
    if name not in names:
        raise SystemExit(f"{setting!r}: there is no {name!r}; use one of {', '.join(names) or 'nothing more'}.")
    return dataclasses.replace(whole, **{name: _put(getattr(whole, name), rest, value, setting)})
