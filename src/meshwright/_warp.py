"""The one import of Warp: quiet, so that libraries and the command line print only what they mean to."""

from __future__ import annotations

import os
import sys
import tempfile
import threading

import warp as wp

__all__ = ["load_kernels", "loading", "wp"]

loading = threading.RLock()
"""Held by whoever has Warp compile or load kernels: its loader is not meant to be entered twice."""

wp.config.quiet = True  # up to Warp 1.13
wp.config.log_level = 30  # warnings and worse, from then on
# Code for the GPU at hand: what Warp would choose with a new driver is for the oldest, which adds one number at a time.
wp.config.cuda_output = "cubin"


def _initialise() -> None:
    """`wp.init()` without its complaint that there is no GPU driver; all else that it says is passed on.

    The complaint is written by native code to file descriptor 2, past `sys.stderr`. Whether a GPU is there is for
    `meshwright.device` and `meshwright doctor` to say.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as caught:
        kept = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            wp.init()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            caught.seek(0)
            said = caught.read().decode("utf-8", "replace").splitlines()
    for line in said:
        if "NVIDIA CUDA driver" not in line:
            print(line, file=sys.stderr)


_initialise()


def load_kernels(module: str, device: str) -> None:
    """Compile and load one module's kernels before threads use them."""
    with loading:
        wp.load_module(module, device=device)
