"""What a command says when packages that only it needs are not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from meshwright.errors import MeshwrightError

__all__ = ["service_extra"]


@contextmanager
def service_extra() -> Iterator[None]:
    """Around the imports of a command that belongs to the service.

    Raises:
        MeshwrightError: says how to install what is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "meshwright").partition(".")[0] == "meshwright":
            raise  # a fault of ours, not a missing package
        raise MeshwrightError(
            f"This command needs the package {error.name}, which is not installed.",
            hint="pip install 'meshwright[service]'",
        ) from error
