"""On what terms the parts of a family may be used, and the record that somebody has read and accepted them.

Terms are shown and accepted once per part. The record holds the date and the hash of the text that was shown: should
the text change with a later version of meshwright, it is shown again.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshwright.errors import LicenceNotAcceptedError

if TYPE_CHECKING:
    from meshwright.weights.catalogue import Family, Part
    from meshwright.weights.store import Store

__all__ = ["Acceptance", "Licence", "accept", "acceptance", "card_licence", "not_accepted", "require_accepted", "shown"]


@dataclass(frozen=True, kw_only=True)
class Licence:
    """Terms of one part.

    Attributes:
        name: As short as it goes.
        consequence: What follows for whoever uses the results.
        words: Where that is known from, and where to read more.
    """

    name: str
    consequence: str
    words: str


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """That the terms of one part were accepted: when (UTC, ISO 8601), and the hash of the text that was shown."""

    moment: str
    text_sha256: str


def shown(part: Part) -> str:
    """What is put before the user for one part."""
    licence = part.licence
    return f"{part.folder} ({part.title})\n  Licence: {licence.name}\n  {licence.consequence}\n  {licence.words}\n"


def accept(family: Family, store: Store) -> list[Part]:
    """Records that the terms of every part were accepted; gives those parts for which that is new."""
    fresh = not_accepted(family, store)
    if fresh:
        store.keep_acceptances({part.folder: (part.licence.name, _hash(part)) for part in fresh})
    return fresh


def acceptance(part: Part, store: Store) -> Acceptance | None:
    """The record of the terms as they are now; None where they have not been accepted."""
    record = store.acceptance(part.folder)
    if record is None or record[1] != _hash(part):
        return None
    return Acceptance(moment=record[0], text_sha256=record[1])


def not_accepted(family: Family, store: Store) -> list[Part]:
    """The parts whose terms nobody has accepted here; none for what comes with meshwright."""
    return [] if family.packaged else [part for part in family.parts if acceptance(part, store) is None]


def require_accepted(family: Family, store: Store, command: str) -> None:
    """Does nothing where all terms were accepted.

    Args:
        command: What accepts them, to be named in the error.
    Raises:
        LicenceNotAcceptedError: Names every part whose terms were not.
    """
    parts = not_accepted(family, store)
    if not parts:
        return
    lines = "\n".join(f"  {part.folder}: {part.licence.name}. {part.licence.consequence}" for part in parts)
    raise LicenceNotAcceptedError(
        f"The licences of {len(parts)} parts of {family.name} have not been accepted on this machine:\n{lines}\n",
        hint=f"Read them with `meshwright weights list`, then: {command}",
        family=family.name,
        parts=[part.folder for part in parts],
        command=command,
    )


def card_licence(family: Family, part: Part, store: Store) -> str:
    """What the model card that came with a part gives as its licence; empty where there is no card, or it says none."""
    try:
        text = (store.part_folder(family, part) / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    head = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    line = re.search(r"^license:\s*[\"']?([^\"'\n]+)", head[1], re.MULTILINE) if head else None
    return line[1].strip() if line else ""


def _hash(part: Part) -> str:
    return hashlib.sha256(shown(part).encode()).hexdigest()
