"""Six views to a posed dataset in NeRF-synthetic form, for other programs that want one.

It stands above `inputs` and `cameras`, which do not know each other.
"""

from __future__ import annotations

from pathlib import Path

from meshwright.cameras.datasets import validate_nerf_dataset, write_nerf_dataset
from meshwright.cameras.rigs import default_rig
from meshwright.inputs import InputConfig, read_inputs

__all__ = ["create_nerf_dataset", "validate_nerf_dataset"]


def create_nerf_dataset(
    views_dir: Path | str,
    depth_dir: Path | str | None,
    output_dir: Path | str,
    image_size: int = 512,
    *,
    config: InputConfig | None = None,
) -> dict[str, object]:
    """Write six views as `images/` (RGBA, alpha from masks), `depth/` and `transforms_train.json`.

    `config.views` may name fewer.

    The cameras are those of the default rig (horizontal field of view 26 degrees, distance 2.5, image up +Y for the
    sides and +Z for top and bottom), unless `config.cameras` names a camera file. They are not fitted to the pictures.

    Args:
        views_dir: Folder or ZIP with the six views.
        depth_dir: Folder with their depth renders, or None.
        output_dir: Is made where missing; older files of the same names are replaced.
        image_size: Longer side of the written pictures in pixels.
        config: How the input is read; defaults where None.

    Returns:
        What `validate_nerf_dataset` finds in the result, and `warnings` of reading (a list of sentences).

    Raises:
        InputFilesError: lists every file that cannot be used.
        CameraError: a given camera file cannot be used.
        OptionError: `image_size` is out of range.
        OutputError: the dataset cannot be written.
    """
    views = read_inputs(Path(views_dir), config, depth_dir=None if depth_dir is None else Path(depth_dir))
    cameras = views.cameras or default_rig(
        [(view.width, view.height) for view in views.views], [view.name for view in views.views]
    )
    write_nerf_dataset(views, cameras, Path(output_dir), image_size)
    return {**validate_nerf_dataset(output_dir), "warnings": list(views.warnings)}
