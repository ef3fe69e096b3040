"""A ZIP that never exists as a file: any range of its bytes can be made from the files it holds.

Entries are stored, not packed (pictures and GLB are packed already), in a fixed order, with a fixed date. So the
layout follows from names, sizes and checksums alone, two downloads are the same byte for byte, and one that broke
off goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import struct
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

__all__ = ["Member", "ZipLayout", "lay_out"]

_DATE = (1 << 5) | 1  # 1980-01-01, the first day that ZIP knows
_UTF8 = 0x800
_END_LIMIT = 0xFFFFFFFE


@dataclass(frozen=True, kw_only=True)
class Member:
    """One file of the ZIP.

    Attributes:
        name: Path in the ZIP.
        key: Where its content lies in storage.
        size: Bytes.
        crc32: Checksum of the content as ZIP wants it.
        sha256: Of the content; makes the ETag.
    """

    name: str
    key: str
    size: int
    crc32: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ZipLayout:
    """What lies where in the ZIP.

    Attributes:
        parts: (offset, length, what), gapless and in order; `what` is bytes, or the member whose content it is.
        size: Bytes of the whole.
        etag: Differs as soon as a byte does.
    """

    parts: tuple[tuple[int, int, bytes | Member], ...]
    size: int
    etag: str

    async def read(
        self, start: int, end: int, open_range: Callable[[str, int, int], Awaitable[AsyncIterator[bytes]]]
    ) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`.

        Args:
            open_range: Called with key, start and end for each part of a content.
        """
        for offset, length, what in self.parts:
            first, last = max(start - offset, 0), min(end - offset, length)
            if first >= last:
                continue
            if isinstance(what, bytes):
                yield what[first:last]
            else:
                async for piece in await open_range(what.key, first, last):
                    yield piece


def lay_out(members: Sequence[Member]) -> ZipLayout:
    """Plans the ZIP of these files, in this order.

    Raises:
        ValueError: They are more than a plain ZIP can hold (4 GB, 65,534 files).
    """
    parts: list[tuple[int, int, bytes | Member]] = []
    directory = bytearray()
    offset = 0
    for member in members:
        name = member.name.encode("utf-8")
        # Version 2.0, stored, UTF-8 names.
        common = struct.pack(
            "<HHHHHIIIHH", 20, _UTF8, zipfile.ZIP_STORED, 0, _DATE, member.crc32, member.size, member.size, len(name), 0
        )
        # Made on Unix by version 2.0; a regular file that everybody may read.
        directory += struct.pack("<4sH", b"PK\x01\x02", (3 << 8) | 20) + common
        directory += struct.pack("<HHHII", 0, 0, 0, 0o100644 << 16, offset) + name
        header = b"PK\x03\x04" + common + name
        parts.append((offset, len(header), header))
        offset += len(header)
        if member.size:
            parts.append((offset, member.size, member))
        offset += member.size
    if offset + len(directory) > _END_LIMIT or len(members) > 0xFFFE:
        raise ValueError("too much for a plain ZIP")
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, len(members), len(members), len(directory), offset, 0)
    tail = bytes(directory) + end
    parts.append((offset, len(tail), tail))
    content = "\n".join(f"{member.name}\0{member.size}\0{member.sha256}" for member in members)
    etag = f'"{hashlib.sha256(content.encode()).hexdigest()[:32]}"'
    return ZipLayout(parts=tuple(parts), size=offset + len(tail), etag=etag)
