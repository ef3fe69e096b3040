"""Names, types and shapes of the tensors in a weights file, read from its directory alone: no tensor is loaded.

`.safetensors`: eight bytes with the length of a JSON header, the header, the tensors. `.pth` as torch saves it: a ZIP
with a pickle that lists the tensors; it is read by a reader that knows tensors and nothing else, so it runs no code.
"""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["BadFileError", "Shapes", "read_shapes"]

Shapes = dict[str, tuple[int, ...]]

_LONGEST_HEADER = 100_000_000


class BadFileError(Exception):
    """A file is not a whole weights file; `code` is `weights.truncated` or `weights.unreadable`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def read_shapes(path: Path, suffix: str = "") -> Shapes:
    """Name -> shape of every tensor in `path`.

    Args:
        suffix: `.safetensors` or `.pth`, where the name of the file does not end with it.
    Raises:
        BadFileError: The file ends too early, or is something else.
    """
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise BadFileError("weights.unreadable", f"cannot be read: {error.strerror or error}") from error
    if start.startswith(b"version https://git-lfs"):
        raise BadFileError("weights.unreadable", "is a Git LFS pointer, not the file itself (`git lfs pull` gets it)")
    if start.lstrip()[:1] == b"<":
        raise BadFileError("weights.unreadable", "is a web page, not weights")
    return _safetensors(path) if (suffix or path.suffix) == ".safetensors" else _torch_zip(path)


def _safetensors(path: Path) -> Shapes:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise BadFileError("weights.truncated", f"has {size:,} bytes only")
        (length,) = struct.unpack("<Q", start)
        if length > _LONGEST_HEADER:
            raise BadFileError("weights.unreadable", "is not a safetensors file")
        text = file.read(length)
    if len(text) < length:
        raise BadFileError("weights.truncated", f"has {size:,} bytes, its header alone has {length + 8:,}")
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        end = max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
        shapes = {str(name): tuple(int(side) for side in entry["shape"]) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise BadFileError("weights.unreadable", "is not a safetensors file: its header has no meaning") from error
    whole = 8 + length + end
    if size < whole:
        raise BadFileError("weights.truncated", f"has {size:,} of the {whole:,} bytes that its header promises")
    if size > whole:
        raise BadFileError("weights.unreadable", f"has {size - whole:,} bytes more than its header says")
    return shapes


def _torch_zip(path: Path) -> Shapes:
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    if not is_zip:
        raise BadFileError("weights.unreadable", "is not a file that torch saved")
    try:
        with zipfile.ZipFile(path) as archive:
            name = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
            if name is None:
                raise BadFileError("weights.unreadable", "is a ZIP, but not one that torch saved")
            with archive.open(name) as stream:
                state = _Reader(stream).load()
    except zipfile.BadZipFile as error:
        # The directory of a ZIP stands at its end.
        raise BadFileError("weights.truncated", f"ends after {path.stat().st_size:,} bytes, before its end") from error
    except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise BadFileError("weights.unreadable", f"holds something else than tensors ({error})") from error
    if not isinstance(state, dict) or not all(isinstance(item, _Shape) for item in state.values()):
        raise BadFileError("weights.unreadable", "does not hold a plain list of tensors")
    return {str(name): item.sides for name, item in state.items()}


class _Shape:
    """Stands for a tensor."""

    def __init__(self, sides: tuple[int, ...]) -> None:
        self.sides = sides


def _tensor(storage: object, offset: int, size: tuple[int, ...], *rest: object) -> _Shape:
    del storage, offset, rest
    return _Shape(tuple(int(side) for side in size))


def _parameter(data: _Shape, *rest: object) -> _Shape:
    del rest
    return data


class _Reader(pickle.Unpickler):
    """Makes shapes out of tensors, and refuses everything else."""

    _KNOWN: dict[tuple[str, str], Callable[..., Any]] = {  # noqa: RUF012  (nobody writes to it)
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_parameter"): _parameter,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self._KNOWN:
            return self._KNOWN[module, name]
        if module == "torch" and name.endswith("Storage"):
            return name
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        return pid
