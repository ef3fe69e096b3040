"""How one bad file is reported without stopping the judgement of the others."""

from __future__ import annotations

from meshwright.errors import FileFault, InputFilesError

__all__ = ["BadFileError", "Faults", "shown"]


def shown(name: str) -> str:
    """A file name that is safe to print: control characters and broken encodings as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)


class BadFileError(Exception):
    """One file cannot be used. Never leaves `inputs`: `Faults` turns it into a line of `InputFilesError`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Faults:
    """Collects what is wrong, so that the user hears everything at once."""

    def __init__(self) -> None:
        self.found: list[FileFault] = []

    def add(self, file: str, code: str, message: str) -> None:
        """Note one fault; `file` is the name as the user knows it."""
        self.found.append(FileFault(file=shown(file), code=code, message=message))

    def add_error(self, file: str, error: BadFileError) -> None:
        """Note what a judging function raised."""
        self.add(file, error.code, error.message)

    def raise_if_any(self, hint: str = "") -> None:
        """Raises:
        InputFilesError: something was noted.
        """
        if self.found:
            raise InputFilesError(self.found, hint=hint)
