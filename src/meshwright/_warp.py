"""The one import of Warp: quiet, so that libraries and the command line print only what they mean to."""

from __future__ import annotations

import warp as wp

wp.config.quiet = True

__all__ = ["wp"]
