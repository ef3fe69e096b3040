"""What is worth knowing of a file before it is published."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

from meshwright.service.storage.base import CHUNK

__all__ = ["FileFacts", "facts_of"]


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """Name relative to its folder, bytes, SHA-256 and CRC-32 (as ZIP archives want it)."""

    name: str
    size: int
    sha256: str
    crc32: int


def facts_of(folder: Path) -> tuple[FileFacts, ...]:
    """Of every file below `folder`, by name. Links are not followed and not listed."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            digest, crc, size = hashlib.sha256(), 0, 0
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
                    crc = zlib.crc32(chunk, crc)
                    size += len(chunk)
            name = path.relative_to(folder).as_posix()
            found.append(FileFacts(name=name, size=size, sha256=digest.hexdigest(), crc32=crc))
    return tuple(found)
