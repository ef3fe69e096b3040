"""Views from all around: the carved shape, and what the small networks make of it, for more and more views.

    python benchmarks/posed.py DATA/spot_dense --truth DATA/spot/gt_mesh.ply
    python benchmarks/posed.py SCENE --truth gt_mesh.ply --views 8,20 --grid 128

SCENE is a NeRF-synthetic folder. Of its training views so many are taken at even steps. Cameras are as given; scored is
the shape alone, by `meshwright.quality.compare_meshes`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from meshwright.export import load_textured
from meshwright.geometry import ShapeConfig, reconstruct_shape
from meshwright.inputs import read_inputs
from meshwright.models.reconviagen.crops import look_straight
from meshwright.models.reconviagen.shape import PriorConfig, prior_shape
from meshwright.models.reconviagen.weights import load_checkpoint, packaged
from meshwright.quality import compare_meshes
from meshwright.types import SilentMonitor


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--truth", type=Path, required=True, help="mesh in the frame of the cameras")
    parser.add_argument("--views", default="6,8,10,14", help="how many, separated by commas")
    parser.add_argument("--grid", type=int, default=192, help="cells along the longest side")
    options = parser.parse_args()
    truth = load_textured(options.truth).mesh
    everything = read_inputs(options.scene)
    if everything.cameras is None:
        raise SystemExit(f"{options.scene} has no cameras")
    checkpoint = load_checkpoint(packaged(), "cpu")
    print("| views | hull: F@0.01 | networks: F@0.01 | asked by default |\n| --- | --- | --- | --- |")
    for count in map(int, options.views.split(",")):
        chosen = np.linspace(0, len(everything.views) - 1, count).round().astype(int)
        views, cameras = zip(*((everything.views[i], everything.cameras[i]) for i in chosen), strict=True)
        part = replace(everything, views=views, cameras=cameras)
        hull = reconstruct_shape(part, cameras, ShapeConfig(grid=options.grid), SilentMonitor(), "cpu").mesh
        believed, _ = prior_shape(views, cameras, checkpoint, SilentMonitor(), "cpu", PriorConfig(grid=options.grid))
        scores = [compare_meshes(mesh, truth)["fscore_0.01"] for mesh in (hull, believed)]
        asked = "yes" if look_straight(cameras) else "no"
        print(f"| {count} | {scores[0]:.3f} | {scores[1]:.3f} | {asked} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
