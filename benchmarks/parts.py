"""How long the parts take: `python benchmarks/parts.py [NAME ...] [--device cuda]`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from harness import benchmark, main

from meshwright.geometry import AtlasConfig, ShapeConfig, reconstruct_shape, simplify, unwrap
from meshwright.rendering import rasterize_views, render_textured
from meshwright.synth.encode import rgba8
from meshwright.synth.objects import get_object
from meshwright.synth.rig import six_view_cameras
from meshwright.synth.trace import render
from meshwright.synth.truth import prepare
from meshwright.texture import TextureConfig, bake_texture
from meshwright.types import Camera, DepthKind, DepthMap, MaskSource, Mesh, SilentMonitor, TexturedMesh, View, ViewSet


def sphere(faces: int) -> Mesh:
    """An icosphere with 20 * 4**n faces, as close to `faces` as that comes."""
    import trimesh

    level = round(np.log(faces / 20) / np.log(4))
    mesh = trimesh.creation.icosphere(subdivisions=level, radius=0.5)
    return Mesh(vertices=mesh.vertices.astype(np.float32), faces=mesh.faces.astype(np.int32))


@cache
def car(size: int, device: str) -> tuple[ViewSet, tuple[Camera, ...], Mesh]:
    """The toy car as six views with metric depth, and its surface at 50,000 faces."""
    scene, surface = prepare(get_object("toy_car"), device=device)
    cameras = six_view_cameras(size)
    views = []
    for camera in cameras:
        picture = render(scene, camera)
        # Codes of 1/10000 unit over 65535, as `read_inputs` gives them.
        depth = DepthMap(
            values=picture.depth / np.float32(6.5535),
            valid=picture.depth > 0,
            step=1 / 65535,
            kind=DepthKind.METRIC,
            unit=6.5535,
        )
        views.append(
            View(
                name=camera.name,
                rgb=np.clip(picture.rgb, 0, 1),
                mask=picture.alpha,
                mask_source=MaskSource.ALPHA,
                background=np.ones_like(picture.rgb),
                depth=depth,
            )
        )
    return ViewSet(views=tuple(views)), cameras, simplify(surface, 50_000)


@cache
def painted(size: int, texture: int, device: str) -> TexturedMesh:
    """The car with its texture."""
    views, cameras, mesh = car(size, device)
    atlas = unwrap(mesh, AtlasConfig(texture_size=texture))
    return bake_texture(mesh, atlas, views.views, cameras, TextureConfig(size=texture), device=device)


@benchmark(faces=[20_480, 327_680], side=[512, 1024])
def rasterize_six(faces: int, side: int, device: str) -> Callable[[], object]:
    """Six views of a sphere: which triangle is seen where, with weights and depth, back in NumPy arrays."""
    mesh, cameras = sphere(faces), six_view_cameras(side)
    return lambda: rasterize_views(mesh, cameras, device=device)


@benchmark(side=[512, 1024])
def render_one(side: int, device: str) -> Callable[[], object]:
    """One anti-aliased textured picture, 2 x 2 samples a pixel."""
    mesh, camera = painted(512, 1024, device), six_view_cameras(side)[0]
    return lambda: render_textured(mesh, camera, device=device)


@benchmark(grid=[128, 224], depth=[False, True])
def shape_six(grid: int, depth: bool, device: str) -> Callable[[], object]:
    """Hull of six silhouettes, carved by metric depth or not, and its surface."""
    views, cameras, _ = car(512, device)
    config = ShapeConfig(grid=grid, use_depth=depth)
    return lambda: reconstruct_shape(views, cameras, config, SilentMonitor(), device)


@benchmark(faces=[50_000])
def simplify_shape(faces: int, device: str) -> Callable[[], object]:
    """A dense surface down to its face budget; always on the CPU."""
    _, surface = prepare(get_object("toy_car"), grid=256, device=device)
    return lambda: simplify(surface, faces)


@benchmark(texture=[1024, 2048])
def unwrap_mesh(texture: int, device: str) -> Callable[[], object]:
    """An atlas of 50,000 faces; always on the CPU."""
    _, _, mesh = car(512, device)
    return lambda: unwrap(mesh, AtlasConfig(texture_size=texture))


@benchmark(texture=[1024, 2048])
def bake_six(texture: int, device: str) -> Callable[[], object]:
    """Six views of 512 x 512 onto 50,000 faces."""
    views, cameras, mesh = car(512, device)
    atlas, config = unwrap(mesh, AtlasConfig(texture_size=texture)), TextureConfig(size=texture)
    return lambda: bake_texture(mesh, atlas, views.views, cameras, config, device=device)


@benchmark(side=[256])
def sphere_trace(side: int, device: str) -> Callable[[], object]:
    """One picture of a procedural object, 3 x 3 rays a pixel, as an 8-bit image."""
    scene, _ = prepare(get_object("robot"), grid=64, device=device)
    camera = six_view_cameras(side)[0]
    return lambda: rgba8(render(scene, camera))


if __name__ == "__main__":
    main()
