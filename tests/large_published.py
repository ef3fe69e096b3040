"""The keys of the large networks as published, from the list beside the checkout; skips where there is none."""

from __future__ import annotations

from functools import cache

import pytest
from benchmarks.published import ENCODERS, NETWORKS, Entry, published_keys, tensors_of

from large_goldens import FOLDER

__all__ = ["ENCODERS", "NETWORKS", "published", "tensors_of"]


@cache
def published(section: str) -> dict[str, Entry]:
    """Key -> shape and precision of the section of `state_dict_keys.md` whose heading begins so."""
    path = FOLDER.parent / "state_dict_keys.md"
    if not path.is_file():
        pytest.skip("the key lists of the large networks are not beside the checkout (shared/reconviagen)")
    return published_keys(path, section)
