"""What a model asks for: the files of a family, whole and allowed to be used, or an error that says what to type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from meshwright.weights.catalogue import Family, family_named
from meshwright.weights.licences import acceptance, require_accepted
from meshwright.weights.store import Store
from meshwright.weights.verify import NetworkFiles, examine, fetch_command, locate, raise_faults

__all__ = ["Installed", "installed"]


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A family that is ready to be loaded.

    Attributes:
        family: Its name.
        folder: The store.
        networks: Name of network -> its files.
        pipeline: The JSON with the settings of the samplers and the normalisation of the latent; None without one.
        revisions: Part -> the commit it was fetched from; empty where it was copied here by hand.
        accepted: Part -> when its licence was accepted (UTC); empty for what comes with meshwright.
        notes: What is odd about the files but no reason to stop.
    """

    family: str
    folder: Path
    networks: Mapping[str, NetworkFiles]
    pipeline: Path | None
    revisions: Mapping[str, str]
    accepted: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What goes into the record of a result: the family, and the commit of its first part where it is known."""
        revision = next(iter(self.revisions.values()), "")
        return f"{self.family}@{revision[:12]}" if revision else self.family


def installed(family: str | Family, store: Store | None = None) -> Installed:
    """The files of a family. Takes milliseconds: nothing is read but the directories of the files.

    Args:
        family: Such as `mini` or `trellis-vggt-v0-2`.
        store: Where to look; None for this machine's store.
    Raises:
        WeightsNotInstalledError: Files are missing; the message names every part of which some are, the hint is the
            command that gets them. Its subclasses: WeightsFilesError where files are there but broken, renamed, of
            wrong shapes or changed, LicenceNotAcceptedError where all is there and nobody accepted the terms.
        OptionError: There is no such family.
    """
    family = family_named(family) if isinstance(family, str) else family
    store = store or Store()
    faults, notes = examine(family, store)
    raise_faults(family, store, faults)
    require_accepted(family, store, fetch_command(family))
    records = {part.folder: acceptance(part, store) for part in family.parts}
    pipeline = None
    if family.pipeline is not None:
        part, name = family.pipeline
        pipeline = store.part_folder(family, family.part(part)) / name
    return Installed(
        family=family.name,
        folder=store.folder,
        networks=locate(family, store),
        pipeline=pipeline,
        revisions={} if family.packaged else {part.folder: store.revision(part.folder) for part in family.parts},
        accepted={part: record.moment for part, record in records.items() if record is not None},
        notes=tuple(notes),
    )
