"""From what went wrong in an attempt to what the owner of the job reads: a code, a sentence, and what to do.

No sentence holds a path or a trace; those go to the log, with the job's id.
"""

from __future__ import annotations

import errno

from meshwright.errors import (
    CameraError,
    DeviceError,
    DiskFullError,
    InputError,
    MeshwrightError,
    OutputError,
    VramError,
    WeightsNotInstalledError,
)
from meshwright.service.codes import Code
from meshwright.service.jobs import JobError

__all__ = ["TIME_LIMIT", "explain", "incomplete"]

TIME_LIMIT = JobError(
    code=Code.TIME_LIMIT_EXCEEDED.value,
    message="The job took longer than this service allows.",
    suggestion="Try a lower quality or smaller pictures.",
)


def explain(error: BaseException, model: str) -> JobError:
    """The error of a job whose model stopped with `error`."""
    kind = {base.__name__ for base in type(error).__mro__}
    text = str(error)
    if "SoftTimeLimitExceeded" in kind:  # Celery's, which only `tasks` knows
        return TIME_LIMIT
    if isinstance(error, VramError) or "OutOfMemoryError" in kind or "CUDA out of memory" in text:
        return JobError(
            code=Code.MODEL_VRAM_OOM.value,
            message=f"{model} needs more GPU memory than is free.",
            suggestion="Try a lower quality, or again when the GPU is less busy.",
        )
    if isinstance(error, MemoryError) or "not enough memory" in text or "can't allocate memory" in text:
        return JobError(
            code=Code.MODEL_OOM.value,
            message=f"{model} ran out of memory.",
            suggestion="Try a lower quality or smaller pictures.",
        )
    if isinstance(error, DiskFullError) or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)):
        return _disk_full()
    if isinstance(error, OutputError) and isinstance(error.__cause__, OSError):
        if error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT):
            return _disk_full()
        return JobError(
            code=Code.INCOMPLETE_RESULTS.value,
            message="The results could not be written.",
            suggestion="Submit the job again; if it fails again, ask whoever runs this service.",
        )
    if isinstance(error, WeightsNotInstalledError):
        return JobError(
            code=Code.WEIGHTS_NOT_INSTALLED.value,
            message=f"The weights of {model} are not installed on this service.",
            suggestion="Use another model, or ask whoever runs this service to install them: `meshwright weights list` "
            "says what is missing, and how to get it.",
        )
    if isinstance(error, DeviceError):
        return JobError(
            code=Code.GPU_UNAVAILABLE.value,
            message="The device that this service was told to compute on is not available.",
            suggestion="Ask whoever runs this service.",
        )
    if isinstance(error, InputError):
        return JobError(code=Code.INVALID_FILE_FORMAT.value, message=error.message.strip(), suggestion=error.hint)
    if isinstance(error, CameraError):
        return JobError(code=Code.MODEL_CONVERGENCE_FAILED.value, message=error.message, suggestion=error.hint)
    if isinstance(error, MeshwrightError) and not isinstance(error, OutputError):
        return JobError(code=Code.MODEL_FAILED.value, message=error.message, suggestion=error.hint)
    return JobError(
        code=Code.UNKNOWN_ERROR.value,
        message=f"{model} stopped on an unexpected error.",
        suggestion="Submit the job again; if it fails again, ask whoever runs this service and name the job's id.",
    )


def incomplete(model: str) -> JobError:
    """What a model left is not whole."""
    return JobError(
        code=Code.INCOMPLETE_RESULTS.value,
        message=f"The files that {model} wrote are not whole.",
        suggestion="Submit the job again; if it fails again, ask whoever runs this service and name the job's id.",
    )


def _disk_full() -> JobError:
    return JobError(
        code=Code.DISK_FULL.value,
        message="The disk of this service is full.",
        suggestion="Try again later, or ask whoever runs this service to free some space.",
    )
