"""Reading the views in a process of its own, while this one still imports what comes after.

With a GPU a program imports torch first, which takes the interpreter for one to two seconds; threads that read pictures
meanwhile would wait for each other. Nothing here imports more than Python has.

The other process is `python -m meshwright.ahead`: it takes options from its input, and writes what it read to its
output, as a pickle with the arrays behind it.
"""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from meshwright.types import ViewSet

__all__ = ["ReadAhead"]

_LENGTH = struct.Struct("<Q")


class ReadAhead:
    """Begins to read at once.

    Args:
        source: What `read_inputs` takes.
        options: Fields of `ReconstructConfig`.
    """

    def __init__(self, source: Path, options: Mapping[str, object]) -> None:
        self._parts: list[bytearray] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        # Taken over as it comes: the system keeps no more than a few pages of it.
        self._thread = threading.Thread(target=self._exchange, args=(pickle.dumps((source, dict(options))),))
        self._thread.start()

    def result(self) -> ViewSet | None:
        """What was read; None if that failed: whoever reads then meets the same fault, and can say it."""
        from meshwright.device import check_stop

        while self._thread.is_alive():
            check_stop()
            self._thread.join(0.05)
        whole = self._process.wait() == 0 and len(self._parts) > 0
        return pickle.loads(self._parts[0], buffers=self._parts[1:]) if whole else None

    def close(self) -> None:
        """Ends the other process if it still reads."""
        self._process.kill()
        self._thread.join()
        self._process.wait()

    def _exchange(self, request: bytes) -> None:
        asks, answers = self._process.stdin, self._process.stdout
        assert asks is not None and isinstance(answers, BufferedReader)
        with suppress(OSError), asks, answers:
            asks.write(request)
            asks.close()
            while (length := answers.read(_LENGTH.size)) != b"":
                part = bytearray(_LENGTH.unpack(length)[0])
                whole = answers.readinto(part)
                if whole < len(part):
                    self._parts.clear()
                    return
                self._parts.append(part)


def _serve(asks: BinaryIO, answers: BufferedWriter) -> None:
    """The other process."""
    from meshwright.config import ReconstructConfig
    from meshwright.inputs import read_inputs

    source, options = pickle.load(asks)
    config = ReconstructConfig(**options)
    views = read_inputs(source, config.inputs, depth_dir=config.depth_dir)
    arrays: list[pickle.PickleBuffer] = []
    about = pickle.dumps(views, protocol=5, buffer_callback=arrays.append)
    for part in (memoryview(about), *(array.raw() for array in arrays)):
        answers.write(_LENGTH.pack(part.nbytes))
        answers.write(part)
    answers.flush()


if __name__ == "__main__":
    # What libraries may print goes nowhere near the answer.
    with os.fdopen(os.dup(1), "wb") as result:
        os.dup2(2, 1)
        _serve(sys.stdin.buffer, result)
