"""What is sent with a submission: the six views and depth renders of a folder, or a ZIP as it is.

A folder is sorted by the same rules as for `meshwright reconstruct`, so that both take the same inputs, and a wrong one
is refused here, before anything travels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from meshwright.errors import OptionError

__all__ = ["Part", "Upload", "find_upload", "opened"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One file of the form."""

    field: str
    name: str
    path: Path
    content_type: str


Upload = tuple[Part, ...]
FormFiles = list[tuple[str, tuple[str, BinaryIO, str]]]


def find_upload(source: Path, depth_dir: Path | None = None) -> Upload:
    """The files to send.

    Args:
        source: A folder with six views (and depth renders), or a ZIP of one.
        depth_dir: Depth renders that do not lie with the views; folders only.

    Raises:
        InputFilesError: lists what is wrong with the files.
        OptionError: a ZIP together with `depth_dir`.
    """
    if source.is_file():
        if depth_dir is not None:
            raise OptionError(
                "A ZIP brings its own depth renders.",
                hint="Put them into the ZIP as depth/, or give a folder of views.",
            )
        return (Part(field="archive", name="archive.zip", path=source, content_type="application/zip"),)

    from meshwright.inputs.config import InputConfig
    from meshwright.inputs.faults import Faults
    from meshwright.inputs.folder import find_six
    from meshwright.inputs.source import open_source

    config = InputConfig()
    faults = Faults()
    with ExitStack() as stack:
        views = stack.enter_context(open_source(source, config))
        depth = None if depth_dir is None else stack.enter_context(open_source(depth_dir, config))
        found = find_six(views, depth, faults)
    faults.raise_if_any()
    depth_root = source if depth_dir is None else depth_dir.parent
    return tuple(
        Part(field=field, name=f"{view}{Path(name).suffix.lower()}", path=root / name, content_type="image/png")
        for field, files, root in (("views", found.views, source), ("depth_renders", found.depth, depth_root))
        for view, (name, _) in files.items()
    )


@contextmanager
def opened(upload: Upload) -> Iterator[FormFiles]:
    """The files open for reading, in the form that httpx streams; nothing is held in memory."""
    with ExitStack() as stack:
        yield [
            (part.field, (part.name, stack.enter_context(part.path.open("rb")), part.content_type)) for part in upload
        ]
