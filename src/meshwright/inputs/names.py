"""Which view a file shows, told from its name.

A name is cut into words at anything that is not a letter or digit, where capitals begin, and between letters and
digits; words glued together (`frontview`, `depthleft`) are cut when they consist of known words only, so that
`backpack` and `laptop` are not views.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from meshwright.inputs.faults import Faults
from meshwright.types import VIEW_NAMES

__all__ = ["NameReading", "match_names", "natural_key", "read_name"]

_SYNONYMS = {"rear": "back", "under": "bottom", "underside": "bottom"}
_DEPTH_WORDS = {"depth", "depths", "depthmap", "disparity"}
_FILLERS = {"view", "side", "map", "img", "image", "render", "cam", "camera", "rgb", "rgba", "color", "colour"}
_KNOWN = sorted({*VIEW_NAMES, *_SYNONYMS, *_DEPTH_WORDS, *_FILLERS}, key=len, reverse=True)
_GLUED = re.compile(f"(?:{'|'.join(_KNOWN)})+")
_ONE = re.compile("|".join(_KNOWN))


@dataclass(frozen=True, kw_only=True)
class NameReading:
    """What a file name says."""

    words: tuple[str, ...]
    """The name's words, lower case, without the ending."""
    views: tuple[str, ...]
    """The different views it names; one is clear, more are ambiguous, none says nothing."""
    is_depth: bool
    """Whether it calls itself a depth render."""
    number: int | None
    """The last number in it."""


def read_name(name: str, *, skip: int = 0) -> NameReading:
    """Cut a file name into words and find the view in them.

    Args:
        name: File name, folders are ignored.
        skip: Words at the beginning that belong to the object, not to the view (`top_hat_front.png`: 2).
    """
    words = _words(PurePosixPath(name).stem)[skip:]
    views = [_SYNONYMS.get(word, word) for word in words if word in VIEW_NAMES or word in _SYNONYMS]
    # Nine digits are enough, and nobody's file name may hold a number that takes minutes to read.
    numbers = [int(word[-9:]) for word in words if word.isascii() and word.isdigit()]
    return NameReading(
        words=tuple(words),
        views=tuple(dict.fromkeys(views)),
        is_depth=any(word in _DEPTH_WORDS for word in words),
        number=numbers[-1] if numbers else None,
    )


def _words(stem: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", stem)
    words = []
    for word in re.findall(r"[^\W\d_]+|[0-9]+", spaced):
        lower = word.lower()
        words.extend(_ONE.findall(lower) if _GLUED.fullmatch(lower) else [lower])
    return words


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key under which `view_2` comes before `view_10`."""
    return tuple(
        (0, int(part[-18:]), "") if part.isascii() and part.isdigit() else (1, 0, part)
        for part in re.split(r"([0-9]+)", name.lower())
        if part
    )


def match_names(
    names: Sequence[str],
    what: str,
    folder: str,
    faults: Faults,
    *,
    wanted: Sequence[str] = VIEW_NAMES,
    some: bool = False,
) -> tuple[dict[str, str], bool]:
    """Give each view its file.

    Args:
        names: File names in upload order.
        what: `view` or `depth render`, for the messages.
        folder: What to call the set of files in messages about all of them.
        faults: Where to note what is wrong.
        wanted: The views that there must be. Files of the other named views are left aside.
        some: Whether any of the wanted ones are enough.

    Returns:
        View name to file name in the order of `VIEW_NAMES` (empty when something was wrong), and whether the names
        said it (False: by order).
    """
    readings = {name: read_name(name) for name in names}
    if any(len(reading.views) > 1 for reading in readings.values()):
        skip = _common_prefix([reading.words for reading in readings.values()])
        readings = {name: read_name(name, skip=skip) for name in names}

    before = len(faults.found)
    known = {name: reading for name, reading in readings.items() if reading.views}
    aside = {name for name, reading in known.items() if len(reading.views) == 1 and reading.views[0] not in wanted}
    by_view: dict[str, list[str]] = {}
    for name, reading in known.items():
        if len(reading.views) > 1:
            faults.add(name, "input.ambiguous_name", f"the name says {' and '.join(reading.views)}; keep one of them")
        elif name not in aside:
            by_view.setdefault(reading.views[0], []).append(name)
    missing = [view for view in VIEW_NAMES if view in wanted and view not in by_view] if known else []
    none_for = f"; there is none for {', '.join(missing)}" if missing else ""
    for view, files in by_view.items():
        if len(files) > 1:
            message = f"a second {what} for {view!r}, besides {', '.join(files[:-1])}{none_for}"
            faults.add(files[-1], "input.duplicate_view", message)
    if known:
        for name in names:
            if name not in known:
                message = f"the name does not say which view it is, while other names do{none_for}"
                faults.add(name, "input.unknown_view", message)
    found = len(names) - len(aside)
    # Files that say no view may also be all six, of which some are wanted.
    order = list(wanted) if known or found != len(VIEW_NAMES) else list(VIEW_NAMES)
    if found != len(order) and not (some and known):
        tail = f"; missing: {', '.join(missing)}" if missing else ""
        which = "" if len(wanted) == len(VIEW_NAMES) else f" ({', '.join(wanted)})"
        faults.add(folder, "input.count", f"expected {len(wanted)} {what}s{which}, found {found}{tail}")
    if len(faults.found) > before:
        return {}, bool(known)
    if known:
        return {view: by_view[view][0] for view in VIEW_NAMES if view in by_view}, True
    numbered = dict(zip(order, _by_number(names, readings), strict=True))
    return {view: numbered[view] for view in VIEW_NAMES if view in wanted}, False


def _common_prefix(all_words: Sequence[tuple[str, ...]]) -> int:
    """How many first words all names share; never all words of a name."""
    count = 0
    for column in zip(*all_words, strict=False):
        if len(set(column)) > 1:
            break
        count += 1
    return min(count, min(map(len, all_words)) - 1) if all_words else 0


def _by_number(names: Sequence[str], readings: dict[str, NameReading]) -> list[str]:
    """The files in the order of 0..5 or 1..6 when their numbers are that, else as they came; fewer ones likewise."""
    numbers = {reading.number: name for name, reading in readings.items()}
    for first in (0, 1):
        wanted = range(first, first + len(names))
        if set(numbers) == set(wanted):
            return [numbers[number] for number in wanted]
    return list(names)
