"""The first stages in a process of their own, while this one still imports what comes after.

With a GPU a program imports torch first, which takes the interpreter for one to two seconds, and then every kernel is
loaded and every library begun when it is first called: another second. Reading the views, finding cameras and carving
need none of that, and threads would wait for each other: so there is another process. That one reads in copies of
itself, for the same reason, and imports what it needs itself meanwhile.

The other process is `python -m meshwright.ahead`. It takes pickles: the request, then the device to carve on. It writes
frames, each with a letter and its length before it: progress; an array; what a stage found, as a pickle whose arrays
came before. Pickles of one process share their memory, so that what a stage found refers to the very arrays that an
earlier one found.

Nothing here imports more than Python has, as long as nothing is read.
"""

from __future__ import annotations

import io
import os
import pickle
import queue
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from meshwright.types import Monitor

__all__ = ["Ahead"]

_HEAD = struct.Struct("<cQ")
_PROGRESS, _ARRAY, _FOUND = b"p", b"a", b"f"


class Ahead:
    """Begins at once.

    Args:
        source: What `read_inputs` takes.
        options: Fields of `ReconstructConfig`.
    """

    def __init__(self, source: Path, options: Mapping[str, object]) -> None:
        self._arrays: deque[bytearray] = deque()
        self._pickles = io.BytesIO()
        self._unpickler = pickle.Unpickler(self._pickles, buffers=iter(self._arrays.popleft, None))
        self._news: queue.SimpleQueue[tuple[bytes, bytearray] | None] = queue.SimpleQueue()
        self._over = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._say((source, dict(options)))
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def carve_on(self, device: str) -> None:
        """Says which device the shape is made on, as `pick_device` returns it: the shape waits for that."""
        self._say(device)

    def result(self, stage: str, monitor: Monitor) -> Any:
        """What a stage found, each in its turn.

        None if that failed, or if a stage before was not asked for: whoever does it himself then meets the same fault,
        and can say it. From then on there is nothing more.
        """
        from meshwright.device import check_stop

        while not self._over:
            check_stop()
            with suppress(queue.Empty):
                news = self._news.get(timeout=0.05)
                if news is None:
                    break
                letter, content = news
                if letter == _PROGRESS:
                    monitor.report(*pickle.loads(content))
                    continue
                place = self._pickles.tell()
                self._pickles.write(content)
                self._pickles.seek(place)
                name, found = self._unpickler.load()
                if name != stage:
                    break
                return found
        self._over = True
        return None

    def close(self) -> None:
        """Ends the other process if it still works."""
        self._process.kill()
        self._thread.join()
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        self._process.wait()

    def _say(self, request: object) -> None:
        asks = self._process.stdin
        assert asks is not None
        with suppress(OSError):  # it has ended, and so says nothing
            pickle.dump(request, asks)
            asks.flush()

    def _listen(self) -> None:
        """Takes over what comes as it comes: the system keeps no more than a few pages of it."""
        answers = self._process.stdout
        assert isinstance(answers, BufferedReader)
        with suppress(OSError), answers:
            while len(head := answers.read(_HEAD.size)) == _HEAD.size:
                letter, length = _HEAD.unpack(head)
                content = bytearray(length)
                if answers.readinto(content) < length:
                    break
                if letter == _ARRAY:
                    self._arrays.append(content)
                else:
                    self._news.put((letter, content))
        self._news.put(None)


class _Answers:
    """What the other process says, from any thread; it is said while work goes on.

    It is a monitor too; whoever wants to stop kills this process.
    """

    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self._frames: queue.SimpleQueue[tuple[bytes, bytes | memoryview] | None] = queue.SimpleQueue()
        self._pickles = io.BytesIO()
        self._arrays: list[pickle.PickleBuffer] = []
        self._pickler = pickle.Pickler(self._pickles, protocol=5, buffer_callback=self._arrays.append)
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def report(self, percent: float, step: str) -> None:
        self._frames.put((_PROGRESS, pickle.dumps((percent, step))))

    def check(self) -> None:
        pass

    def found(self, stage: str, value: object) -> None:
        """Once for each stage, from one thread; what was found must stay as it is."""
        place = self._pickles.tell()
        self._pickler.dump((stage, value))
        self._pickles.seek(place)
        for array in self._arrays:
            self._frames.put((_ARRAY, array.raw()))
        self._arrays.clear()
        self._frames.put((_FOUND, self._pickles.read()))

    def close(self) -> None:
        """Returns when everything was said."""
        self._frames.put(None)
        self._thread.join()

    def _write(self) -> None:
        while (frame := self._frames.get()) is not None:
            letter, content = frame
            self._answers.write(_HEAD.pack(letter, len(content)))
            self._answers.write(content)
            if self._frames.empty():
                self._answers.flush()


def _serve(asks: BinaryIO, result: BinaryIO) -> None:
    """The other process."""
    from meshwright.config import ReconstructConfig
    from meshwright.forked import map_forked
    from meshwright.inputs import read_inputs

    source, options = pickle.load(asks)
    config = ReconstructConfig(**options)

    def get_ready() -> None:
        from meshwright.device import open_early

        open_early(config.device)
        import meshwright.first_stages  # noqa: F401  (what takes long is loaded while others read)

    views = read_inputs(
        source, config.inputs, depth_dir=config.depth_dir, spread=partial(map_forked, meanwhile=get_ready)
    )
    # Not before: these are threads.
    answers, device = _Answers(result), _told(asks)
    answers.found("read", views)
    from meshwright.first_stages import carve, find_cameras

    solution = find_cameras(views, config, answers)
    answers.found("cameras", solution)
    answers.found("shape", carve(solution, config, device.get(), answers))
    answers.close()


def _told(asks: BinaryIO) -> queue.SimpleQueue[str]:
    """Where the device will be; this process ends with the one that asks."""
    device: queue.SimpleQueue[str] = queue.SimpleQueue()

    def attend() -> None:
        try:
            device.put(pickle.load(asks))
            asks.read(1)
        finally:
            os._exit(1)

    threading.Thread(target=attend, daemon=True).start()
    return device


if __name__ == "__main__":
    # What libraries may print goes nowhere near the answer.
    with os.fdopen(os.dup(1), "wb") as result:
        os.dup2(2, 1)
        _serve(sys.stdin.buffer, result)
        result.flush()
        os._exit(0)  # the system takes a GPU's context back faster than Python does
