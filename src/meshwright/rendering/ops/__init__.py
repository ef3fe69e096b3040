"""Differentiable rasterisation as torch operations, on CPU and CUDA from one source.

    rast, rast_db = rasterize(pos, tri, (height, width))
    uv, uv_da = interpolate(vertex_uv, rast, tri, rast_db, diff_attrs="all")
    color = texture(tex, uv, uv_da)
    color = antialias(color, rast, pos, tri)

Letters: N views, H rows, W columns, V vertices, F triangles, C channels. Positions are OpenGL clip space (x, y, z, w).
Rows of pictures run from bottom to top, as in OpenGL; flip them with `torch.flip(picture, [1])` to store them.
`cube_texture` looks up environment maps, `hash_encode` what is stored in space; both work on points in any order.
Everything is float32, triangles int32, contiguous or not; all tensors of a call are on one device, CUDA work goes to
torch's current stream. There are no second derivatives. `choice` says how to run nvdiffrast in their place.
"""

from __future__ import annotations

from meshwright.rendering.ops.antialias import antialias, build_neighbours, build_topology
from meshwright.rendering.ops.choice import switched
from meshwright.rendering.ops.cubemap import CubeLevels, cube_texture, stack_cube
from meshwright.rendering.ops.hashgrid import HashGrid, hash_encode
from meshwright.rendering.ops.interpolate import interpolate
from meshwright.rendering.ops.rasterize import rasterize
from meshwright.rendering.ops.scatter import deterministic
from meshwright.rendering.ops.texture import MipStack, build_mips, texture

__all__ = [
    "CubeLevels",
    "HashGrid",
    "MipStack",
    "antialias",
    "build_mips",
    "build_neighbours",
    "build_topology",
    "cube_texture",
    "deterministic",
    "hash_encode",
    "interpolate",
    "rasterize",
    "stack_cube",
    "texture",
]

rasterize = switched(rasterize)
interpolate = switched(interpolate)
texture = switched(texture)
antialias = switched(antialias)
