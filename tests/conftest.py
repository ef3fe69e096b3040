"""What every test shares: where the sample data lies, which devices there are, what runs without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from meshwright.models.reconviagen.weights import Checkpoint

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips what needs a CUDA device where there is none; torch is only asked if such a test was collected."""
    del config
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the sample objects, beside the checkout; tests that need it are skipped where it is missing."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(f"the sample objects are not beside the checkout ({folder.name}/data)")
    return folder


@pytest.fixture(scope="session")
def packed_checkpoint() -> Checkpoint:
    """The networks that come with meshwright; what needs them is skipped where those packed are of another design."""
    from meshwright.errors import WeightsNotInstalledError
    from meshwright.models.reconviagen.weights import load_checkpoint, packaged

    try:
        return load_checkpoint(packaged(), "cpu")
    except WeightsNotInstalledError as error:
        pytest.skip(f"the packed checkpoint has yet to be trained for these networks (training/README.md): {error}")
