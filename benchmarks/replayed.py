"""What recording steps as CUDA graphs saves: `python benchmarks/replayed.py --device cuda:0`.

Six views of an egg, fitted with and without graphs: the refinement with one level of 40 steps (20,480 faces, pictures
of 512 pixels), and materials and light with 200 steps. Seconds of the whole call, its preparation included, the second
of two runs; on a CPU both are the same.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from ops import icosphere

from meshwright.cameras import rigs
from meshwright.device import describe_device, pick_device
from meshwright.geometry import AtlasConfig, unwrap
from meshwright.models.nvdiffrec.stage_two.config import LightingConfig
from meshwright.models.nvdiffrec.stage_two.lit import fit_lighting
from meshwright.models.refinement.config import MIDDLE, RefineConfig
from meshwright.models.refinement.refine import refine
from meshwright.rendering import rasterize_mesh
from meshwright.types import MaskSource, Mesh, SilentMonitor, TexturedMesh, View

SIDE = 512


def scene() -> tuple[TexturedMesh, list[View], Any]:
    """An egg, and views of a slightly narrower one in a pattern."""
    vertices, faces = icosphere(5)
    mesh = Mesh(vertices=(vertices * [0.3, 0.4, 0.5]).astype(np.float32), faces=faces.astype(np.int32))
    cameras = rigs.rig_cameras(rigs.DEFAULT_RIG, [(SIDE, SIDE)] * 6)
    narrow = replace(mesh, vertices=mesh.vertices * np.float32(0.97))
    across = np.linspace(0, 12, SIDE, dtype=np.float32)
    pattern = np.stack([0.5 + 0.4 * np.sin(across[:, None] * k) * np.cos(across * k) for k in (1, 2, 3)], -1)
    views = []
    for camera in cameras:
        mask = rasterize_mesh(narrow, camera).covered.astype(np.float32)
        views.append(
            View(
                name=camera.name,
                rgb=pattern.astype(np.float32),
                mask=mask,
                mask_source=MaskSource.ALPHA,
                background=np.ones_like(pattern, np.float32),
            )
        )
    atlas = unwrap(mesh, AtlasConfig(texture_size=1024))
    picture = np.full((1024, 1024, 3), 128, np.uint8)
    return (
        TexturedMesh(mesh=mesh, uv=atlas.uv, uv_faces=atlas.uv_faces, base_color_srgb=picture),
        views,
        cameras,
    )


def seconds(call: Callable[[], Any]) -> float:
    call()
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description="Time fits with and without CUDA graphs.")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--steps", type=int, default=200, help="of materials and light")
    device = pick_device(parser.parse_args().device)
    steps = parser.parse_args().steps
    print(describe_device(device))
    textured, views, cameras = scene()
    for graphs in (False, True):
        config = RefineConfig(levels=(MIDDLE,), graphs=graphs)
        lighting = LightingConfig(steps=steps, graphs=graphs)

        def bend(config: RefineConfig = config) -> Any:
            return refine(
                textured,
                textured.mesh.vertices,
                views,
                cameras,
                doubt=0.01,
                free_cameras=True,
                config=config,
                monitor=SilentMonitor(),
                device=device,
            )

        def light(lighting: LightingConfig = lighting) -> Any:
            return fit_lighting(textured, views, cameras, lighting, SilentMonitor(), device)

        print(
            f"graphs={graphs}: refinement {seconds(bend):.2f} s, materials and light {seconds(light):.2f} s", flush=True
        )


if __name__ == "__main__":
    main()
