"""What pictures of one mesh have in common on a device: brought there, or worked out, once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from meshwright._warp import wp
from meshwright.types import Array

__all__ = ["Uploads"]

Value = TypeVar("Value")


class Uploads:
    """Arrays on a device, each brought there when it is first asked for; several threads may ask.

    A texture of 2048 x 2048 takes longer to bring to a GPU than a picture takes to draw. Arrays are told apart by
    identity and must not change while this is held.

    Args:
        device: "cpu" or a CUDA device.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self._kept: dict[tuple[Any, ...], tuple[Any, Any]] = {}
        self._changing = threading.RLock()

    def array(self, values: Array, kind: Any) -> wp.array:
        """Values as a Warp array of this kind (`wp.vec3`, `wp.int32`, ...). On a GPU within a `device.turn`."""
        return self.once(values, kind, lambda: wp.array(np.ascontiguousarray(values), dtype=kind, device=self.device))

    def once(self, subject: object, name: object, make: Callable[[], Value]) -> Value:
        """What `make` makes of `subject`, made when it is first asked for by this name."""
        key = (id(subject), name)
        with self._changing:
            if key not in self._kept:
                # The subject is held too: its identity must not pass to something else.
                self._kept[key] = (subject, make())
            value: Value = self._kept[key][1]
            return value
