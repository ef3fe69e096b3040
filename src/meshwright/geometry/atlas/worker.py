"""A process of its own for xatlas: `python -m meshwright.geometry.atlas.worker IN.npz OUT.npz`.

IN holds `vertices` float32 [N, 3], `faces` int32 [F, 3], `texture_size` and `padding`; OUT will hold `uv` float32
[U, 2] and `uv_faces` int32 [F, 3]. xatlas cannot be interrupted and takes minutes on some meshes: whoever starts this
process kills it when it takes too long.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

__all__ = ["main"]


def main(source: Path, target: Path) -> None:
    """Unwrap what is in `source`, and leave the result in `target`."""
    import xatlas

    with np.load(source) as data:
        vertices, faces = data["vertices"], data["faces"]
        size, padding = int(data["texture_size"]), int(np.ceil(data["padding"]))
    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices, faces.astype(np.uint32))
    pack = xatlas.PackOptions()
    # The atlas comes out up to a seventh larger than asked for, and is then squeezed into the square.
    pack.padding = padding + 1
    pack.resolution = size
    pack.bilinear = True
    atlas.generate(xatlas.ChartOptions(), pack)
    _, uv_faces, uv = atlas[0]
    # One scale for both axes: xatlas divides each by its own side.
    uv = uv * (np.array([atlas.width, atlas.height], np.float32) / max(atlas.width, atlas.height))
    np.savez(target, uv=uv.astype(np.float32), uv_faces=uv_faces.astype(np.int32))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
