"""Results of finished stages on disk, so that a killed run goes on where it was.

A checkpoint is one `.npz`: the arrays of a record, and a JSON text that says how they make it up. Nothing is pickled: a
checkpoint that came from elsewhere can be wrong, but it cannot run code.

Every stage has a key: the hash of the input and of the settings of this and all earlier stages. A checkpoint counts
only under its own key, so a change of settings redoes exactly the stages it touches.
"""

from __future__ import annotations

import enum
import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from meshwright.errors import OutputError
from meshwright.types import Array

__all__ = ["Checkpoints", "chain_key", "decode", "encode"]

Record = TypeVar("Record")

_RECORD = "__record__"
_TEXT = "__text__"


def chain_key(previous: str, *parts: object) -> str:
    """A key that changes with the key before it and with every part (anything whose `repr` says it all)."""
    return hashlib.sha256("\n".join([previous, *map(repr, parts)]).encode()).hexdigest()


def encode(value: object, arrays: dict[str, Array], known: Sequence[Array] = ()) -> object:
    """A JSON-able picture of `value`; its arrays go into `arrays`.

    Args:
        value: Dataclasses, enums, tuples, lists, mappings, arrays, numbers, strings and None, nested at will.
        arrays: Filled with what the picture refers to.
        known: Arrays that whoever decodes will have anyway: they are named by position and not stored.
    Raises:
        TypeError: Something else was found.
    """
    if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, enum.Enum):
        return {_RECORD: type(value).__name__, "value": value.value}
    if isinstance(value, np.ndarray):
        for index, other in enumerate(known):
            if value is other:
                return {_RECORD: "known", "index": index}
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {_RECORD: "array", "name": name}
    if isinstance(value, np.generic):
        return encode(value.item(), arrays, known)
    if is_dataclass(value) and not isinstance(value, type):
        inner = {item.name: encode(getattr(value, item.name), arrays, known) for item in fields(value)}
        return {_RECORD: type(value).__name__, "fields": inner}
    if isinstance(value, tuple):
        return {_RECORD: "tuple", "items": [encode(item, arrays, known) for item in value]}
    if isinstance(value, list):
        return [encode(item, arrays, known) for item in value]
    if isinstance(value, Mapping):
        pairs = [[encode(key, arrays, known), encode(item, arrays, known)] for key, item in value.items()]
        return {_RECORD: "mapping", "pairs": pairs}
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")


def decode(picture: Any, arrays: Mapping[str, Array], types: Mapping[str, type], known: Sequence[Array] = ()) -> Any:
    """The value that `encode` drew; only classes in `types` (by name) are made."""
    if isinstance(picture, list):
        return [decode(item, arrays, types, known) for item in picture]
    if not isinstance(picture, dict):
        return picture
    kind = picture[_RECORD]
    if kind == "known":
        return known[picture["index"]]
    if kind == "array":
        return arrays[picture["name"]]
    if kind == "tuple":
        return tuple(decode(item, arrays, types, known) for item in picture["items"])
    if kind == "mapping":
        return {decode(key, arrays, types, known): decode(item, arrays, types, known) for key, item in picture["pairs"]}
    if "fields" in picture:
        inner = {name: decode(item, arrays, types, known) for name, item in picture["fields"].items()}
        return types[kind](**inner)
    return types[kind](picture["value"])


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Where they lie; made on the first save.
        types: Every class that a stage's result may hold, by name.
        known: Arrays that are read anew from the input in every run, in a fixed order.
    """

    def __init__(self, folder: Path, types: Sequence[type], known: Sequence[Array] = ()) -> None:
        self.folder = folder
        self.types = {item.__name__: item for item in types}
        self.known = list(known)

    def load(self, stage: str, key: str, kind: type[Record]) -> Record | None:
        """What `stage` left under `key`; None where there is nothing, something older, or something broken."""
        try:
            # Opened here, since NumPy leaves a file that is not an archive open.
            with (self.folder / f"{stage}.npz").open("rb") as file, np.load(file, allow_pickle=False) as stored:
                text = json.loads(str(stored[_TEXT]))
                if text["key"] != key:
                    return None
                arrays = {name: stored[name] for name in stored.files if name != _TEXT}
            value = decode(text["value"], arrays, self.types, self.known)
        except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile):
            return None  # a run that was killed while saving, or files of another version: the stage is done again
        return value if isinstance(value, kind) else None

    def save(self, stage: str, key: str, value: object) -> None:
        """Keeps the result of `stage`; it appears whole or not at all.

        Raises:
            OutputError: The disk does not take it.
        """
        arrays: dict[str, Array] = {}
        text = json.dumps({"key": key, "value": encode(value, arrays, self.known)})
        target = self.folder / f"{stage}.npz"
        unfinished = target.with_suffix(".tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                np.savez(file, allow_pickle=False, **{_TEXT: np.array(text), **arrays})  # type: ignore[arg-type]
            unfinished.replace(target)
        except OSError as error:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise OutputError(
                f"The result of the stage {stage!r} cannot be saved: {error.strerror or error}.",
                hint="Free some disk space beside the output folder, or choose another one.",
            ) from error
