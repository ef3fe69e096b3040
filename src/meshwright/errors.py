"""Every error that a user of meshwright can meet.

    MeshwrightError                 code "unknown"
    ├── InputError                  "input.invalid"         something the user gave is wrong
    │   ├── InputFilesError         "input.files"           one or more files are wrong; lists them all
    │   └── OptionError             "input.option"          an option has no meaning or contradicts another
    ├── CameraError                 "camera.unresolved"     cameras cannot be read or do not explain the views
    ├── ShapeError                  "shape.mismatch"        arrays of a call do not fit together
    ├── OutputError                 "output.unwritable"     results cannot be written, or are not whole
    │   └── DiskFullError           "output.disk_full"      too little space is free for them
    ├── WeightsNotInstalledError    "weights.not_installed" a model needs a checkpoint that is not here
    │   ├── WeightsFilesError       "weights.files"         its files are here, but not as they should be; lists them
    │   ├── WeightsDamagedError     "weights.damaged"       a file of them cannot be read (large/loading.py)
    │   ├── WeightsMismatchError    "weights.mismatch"      a file of them holds something else (large/loading.py)
    │   └── LicenceNotAcceptedError "weights.licence"       nobody has accepted the terms of its weights yet
    ├── WeightsFetchError           "weights.fetch"         weights cannot be fetched, exported or imported
    ├── DeviceError                 "device.unavailable"    the asked device is missing
    │   └── VramError               "device.vram"           the job cannot fit into GPU memory
    ├── ServiceError                "service.refused"       a job service said no; `problem` is its own code
    │   └── ServiceUnreachableError "service.unreachable"   a job service does not answer
    └── Cancelled                   "cancelled"             the caller asked to stop

An error says what was found and what was expected (`message`), and what to do (`hint`). `code` is stable: the command
line and the service both show it. `details` holds plain JSON values for programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "CameraError",
    "Cancelled",
    "DeviceError",
    "DiskFullError",
    "FileFault",
    "InputError",
    "InputFilesError",
    "LicenceNotAcceptedError",
    "MeshwrightError",
    "OptionError",
    "OutputError",
    "ServiceError",
    "ServiceUnreachableError",
    "ShapeError",
    "VramError",
    "WeightsFetchError",
    "WeightsFilesError",
    "WeightsNotInstalledError",
]


class MeshwrightError(Exception):
    """The root: catch this to catch everything that meshwright raises on purpose."""

    code = "unknown"
    exit_code = 1
    """What the command line returns to the shell; `docs/cli.md` lists them."""

    def __init__(self, message: str, *, hint: str = "", **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InputError(MeshwrightError):
    """Something the user gave cannot be used."""

    code = "input.invalid"
    exit_code = 2


@dataclass(frozen=True, kw_only=True)
class FileFault:
    """One thing that is wrong with one file (or with the set of files, then `file` names the folder)."""

    file: str
    """Name as the user knows it, relative to what was given."""
    code: str
    """Stable and specific, such as `input.truncated`."""
    message: str
    """What was found and what was expected, without the file name."""


class InputFilesError(InputError):
    """One or more files are wrong. Every fault is listed, so that one round of mending is enough."""

    code = "input.files"

    def __init__(self, faults: Sequence[FileFault], *, hint: str = "") -> None:
        self.faults = tuple(faults)
        noun = "file" if len(self.faults) == 1 else "files"
        lines = "\n".join(f"  {fault.file}: {fault.message} [{fault.code}]" for fault in self.faults)
        super().__init__(
            f"{len(self.faults)} input {noun} cannot be used:\n{lines}\n",
            hint=hint,
            faults=[{"file": f.file, "code": f.code, "message": f.message} for f in self.faults],
        )


class OptionError(InputError):
    """An option has no meaning here, or contradicts another."""

    code = "input.option"


class CameraError(MeshwrightError):
    """Cameras cannot be read, or no rig explains the views."""

    code = "camera.unresolved"
    exit_code = 3


class ShapeError(MeshwrightError):
    """Arrays handed to a function do not fit together."""

    code = "shape.mismatch"


class OutputError(MeshwrightError):
    """Results cannot be written, or what was written is not whole."""

    code = "output.unwritable"
    exit_code = 4


class DiskFullError(OutputError):
    """Too little disk space is free for the results and the checkpoints on the way to them."""

    code = "output.disk_full"


class WeightsNotInstalledError(MeshwrightError):
    """A model needs a checkpoint that is not on this machine."""

    code = "weights.not_installed"
    exit_code = 5


class WeightsFilesError(WeightsNotInstalledError):
    """Weights are on this machine, but not as they should be. Every fault is listed."""

    code = "weights.files"

    def __init__(self, family: str, faults: Sequence[FileFault], *, hint: str = "", **details: object) -> None:
        self.faults = tuple(faults)
        noun = "file" if len(self.faults) == 1 else "files"
        lines = "\n".join(f"  {fault.file}: {fault.message} [{fault.code}]" for fault in self.faults)
        super().__init__(
            f"{len(self.faults)} {noun} of the weights {family} cannot be used:\n{lines}\n",
            hint=hint,
            faults=[{"file": f.file, "code": f.code, "message": f.message} for f in self.faults],
            family=family,
            **details,
        )


class LicenceNotAcceptedError(WeightsNotInstalledError):
    """Weights are to be used whose terms nobody has accepted on this machine yet."""

    code = "weights.licence"


class WeightsFetchError(MeshwrightError):
    """Weights cannot be fetched, exported or imported."""

    code = "weights.fetch"
    exit_code = 5


class DeviceError(MeshwrightError):
    """The device that was asked for is not there."""

    code = "device.unavailable"
    exit_code = 6


class VramError(DeviceError):
    """The job cannot fit into the GPU memory that is free."""

    code = "device.vram"


class ServiceError(MeshwrightError):
    """A job service refused a request, or its job did not end well.

    Attributes:
        problem: The service's own code, such as `JOB_NOT_FOUND` or `MODEL_OOM`; docs/api.md lists them.
        status: HTTP status; 0 where there was none.
    """

    code = "service.refused"
    exit_code = 7

    def __init__(
        self, message: str, *, hint: str = "", problem: str = "UNKNOWN_ERROR", status: int = 0, **details: object
    ) -> None:
        super().__init__(message, hint=hint, problem=problem, status=status, **details)
        self.problem = problem
        self.status = status


class ServiceUnreachableError(ServiceError):
    """A job service does not answer."""

    code = "service.unreachable"


class Cancelled(MeshwrightError):  # noqa: N818  (it is an outcome, not a fault)
    """The caller asked to stop; nothing half-written is left behind."""

    code = "cancelled"
    exit_code = 130
