"""Surfaces from values on grids: how good, how fast, how large. The tables of docs/tetrahedra.md come from here.

    python benchmarks/tetrahedra.py quality     # both extractors against shapes in closed form, before and after a fit
    python benchmarks/tetrahedra.py cost        # time and memory at 64, 128 and 256 cells
    python benchmarks/tetrahedra.py outlines    # which share of a silhouette gives gradients, see ops.antialias

Chamfer distance is exact in both directions: mesh to shape by its distance function, shape to mesh by a search for the
nearest point of each of 20,000 points on the shape. Times are process time (seconds of work on all cores together) on a
CPU and wall time between two synchronisations on CUDA, medians.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from harness import commit, synchronise

from meshwright._warp import wp
from meshwright.device import describe_device, pick_device
from meshwright.geometry import tetra
from meshwright.rendering import ops
from meshwright.types import Mesh

Points = torch.Tensor
KINDS = {"marching tetrahedra": tetra.TetraField, "FlexiCubes": tetra.CubeField}


@dataclass(frozen=True)
class Solid:
    """A shape in closed form."""

    distance: Callable[[Points], Points]
    """Positive inside; exact near the surface."""
    sample: Callable[[np.random.Generator, int], np.ndarray]
    """Points evenly on the surface, [N, 3]."""


def turn(axis: tuple[float, float, float], angle: float) -> np.ndarray:
    """Rotation matrix: shapes must not lie along the grid."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


TURN = turn((1, 2, 3), 0.7)
CENTRE = np.array([0.03, -0.02, 0.05])
SIDES = np.array([0.6, 0.4, 0.5])
RING, TUBE = 0.55, 0.22
BALLS = ((np.array([-0.3, 0.02, 0.01]), 0.45), (np.array([0.32, -0.03, 0.05]), 0.38))


def local(points: Points) -> Points:
    return (points - points.new_tensor(CENTRE)) @ points.new_tensor(TURN)


def world(points: np.ndarray) -> np.ndarray:
    return points @ TURN.T + CENTRE


def on_sphere(rng: np.random.Generator, count: int) -> np.ndarray:
    points = rng.normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def box_distance(points: Points) -> Points:
    q = local(points).abs() - points.new_tensor(SIDES)
    return -(q.clamp(min=0).norm(dim=1) + q.max(1).values.clamp(max=0))


def box_sample(rng: np.random.Generator, count: int) -> np.ndarray:
    area = SIDES.prod() / SIDES
    axis = rng.choice(3, count, p=area / area.sum())
    points = rng.uniform(-1, 1, (count, 3)) * SIDES
    points[np.arange(count), axis] = rng.choice([-1, 1], count) * SIDES[axis]
    return world(points)


def torus_distance(points: Points) -> Points:
    p = local(points)
    return TUBE - torch.stack([p[:, :2].norm(dim=1) - RING, p[:, 2]], 1).norm(dim=1)


def torus_sample(rng: np.random.Generator, count: int) -> np.ndarray:
    around, along = rng.uniform(0, 2 * np.pi, (2, 3 * count))
    kept = rng.uniform(size=3 * count) < (RING + TUBE * np.cos(around)) / (RING + TUBE)
    around, along = around[kept][:count], along[kept][:count]
    r = RING + TUBE * np.cos(around)
    return world(np.stack([r * np.cos(along), r * np.sin(along), TUBE * np.sin(around)], 1))


def balls_distance(points: Points) -> Points:
    return torch.stack([r - (points - points.new_tensor(c)).norm(dim=1) for c, r in BALLS]).max(0).values


def balls_sample(rng: np.random.Generator, count: int) -> np.ndarray:
    weight = np.array([r**2 for _, r in BALLS])
    which = rng.choice(2, 2 * count, p=weight / weight.sum())
    centre, radius = np.stack([c for c, _ in BALLS])[which], np.array([r for _, r in BALLS])[which]
    points = centre + radius[:, None] * on_sphere(rng, 2 * count)
    inside = np.stack([np.linalg.norm(points - c, axis=1) < r - 1e-9 for c, r in BALLS]).any(0)
    return points[~inside][:count]


SOLIDS = {
    "sphere": Solid(
        lambda p: 0.7 - (p - p.new_tensor(CENTRE)).norm(dim=1), lambda rng, n: CENTRE + 0.7 * on_sphere(rng, n)
    ),
    "two spheres": Solid(balls_distance, balls_sample),
    "box": Solid(box_distance, box_sample),
    "torus": Solid(torus_distance, torus_sample),
}


@wp.kernel
def nearest_kernel(mesh: wp.uint64, points: wp.array(dtype=wp.vec3), distance: wp.array(dtype=wp.float32)):
    i = wp.tid()
    query = wp.mesh_query_point_no_sign(mesh, points[i], 10.0)
    distance[i] = wp.length(points[i] - wp.mesh_eval_position(mesh, query.face, query.u, query.v))


def distance_to_mesh(mesh: Mesh, points: np.ndarray) -> np.ndarray:
    """From each point to the nearest one of the mesh."""
    handle = wp.Mesh(
        points=wp.array(mesh.vertices, dtype=wp.vec3, device="cpu"),
        indices=wp.array(mesh.faces.reshape(-1), dtype=wp.int32, device="cpu"),
    )
    found = wp.empty(len(points), dtype=wp.float32, device="cpu")
    given = wp.array(points.astype(np.float32), dtype=wp.vec3, device="cpu")
    wp.launch(nearest_kernel, dim=len(points), inputs=[handle.id, given], outputs=[found], device="cpu")
    return found.numpy()


def normals_at(solid: Solid, points: Points) -> Points:
    """Outward normals of the level sets."""
    given = points.detach().requires_grad_()
    (slope,) = torch.autograd.grad(solid.distance(given).sum(), given)
    return -torch.nn.functional.normalize(slope, dim=1)


@dataclass
class Figures:
    """How a mesh compares with the shape."""

    vertices: int
    faces: int
    chamfer: float
    angle: float  # degrees, mean over the area
    far_angle: float  # degrees, 95 % of the area is below
    shape: float  # 1 for equilateral triangles, mean over triangles
    needles: float  # share of triangles with an angle below 10 degrees


def compare(mesh: Mesh, solid: Solid) -> Figures:
    rng = np.random.default_rng(0)
    corners = torch.from_numpy(mesh.vertices[mesh.faces].astype(np.float64))
    a, b, c = corners.unbind(1)
    cross = torch.linalg.cross(b - a, c - a)
    area = cross.norm(dim=1) / 2
    pick = torch.from_numpy(rng.choice(len(area), 20000, p=(area / area.sum()).numpy()))
    u, v = torch.from_numpy(rng.uniform(size=(2, 20000, 1)))
    u, v = torch.where(u + v > 1, 1 - u, u), torch.where(u + v > 1, 1 - v, v)
    points = a[pick] + u * (b - a)[pick] + v * (c - a)[pick]
    normal = torch.nn.functional.normalize(cross[pick], dim=1)
    angle = torch.rad2deg((normal * normals_at(solid, points)).sum(1).clamp(-1, 1).acos())
    forth = solid.distance(points).abs().mean().item()
    back = float(distance_to_mesh(mesh, solid.sample(rng, 20000)).mean())
    sides = torch.stack([(b - c).norm(dim=1), (c - a).norm(dim=1), (a - b).norm(dim=1)], 1)
    shape = 4 * 3**0.5 * area / sides.square().sum(1).clamp(min=1e-30)
    # The smallest angle lies opposite to the shortest side.
    ordered = sides.sort(1).values
    sine = (2 * area / (ordered[:, 1] * ordered[:, 2]).clamp(min=1e-30)).clamp(max=1)
    return Figures(
        vertices=len(mesh.vertices),
        faces=len(mesh.faces),
        chamfer=(forth + back) / 2,
        angle=angle.mean().item(),
        far_angle=angle.quantile(0.95).item(),
        shape=shape.mean().item(),
        needles=(sine < np.sin(np.radians(10))).double().mean().item(),
    )


def fit(field: tetra.ShapeField, solid: Solid, steps: int, cell: float) -> float:
    """Move the surface onto the shape: distance and direction at random points of every face. Seconds a step."""
    generator = torch.Generator().manual_seed(0)
    leaves = field.leaves()
    groups = [{"params": leaves[:1], "lr": 0.05 * cell}, {"params": leaves[1:], "lr": 0.05}]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 0.1 ** (step / steps))
    begun = time.process_time()
    for _ in range(steps):
        surface = field.surface()
        a, b, c = surface.vertices[surface.faces.long()].unbind(1)
        cross = torch.linalg.cross(b - a, c - a)
        area = cross.square().sum(1).clamp(min=1e-24).sqrt()
        share = area.detach() / area.detach().sum()
        w = torch.rand((len(a), 3), generator=generator).clamp(min=1e-6).log().to(a.device)
        w = w / w.sum(1, keepdim=True)
        points = w[:, :1] * a + w[:, 1:2] * b + w[:, 2:] * c
        off = (solid.distance(points) / cell).square()
        tilt = 1 - (cross / area[:, None] * normals_at(solid, points)).sum(1)
        loss = (share * (off + 0.1 * tilt)).sum()
        loss = loss + 0.0005 * tetra.laplacian(surface.vertices, surface.faces) / cell**2
        loss = loss + 0.01 * tetra.unevenness(surface) / cell
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    return (time.process_time() - begun) / steps


def quality(device: str, resolution: int, steps: int) -> None:
    for name, solid in SOLIDS.items():
        for kind, make in KINDS.items():
            field = make.near((-1, -1, -1), (1, 1, 1), resolution, solid.distance, device=device)
            cell = field.lattice.cell
            for state in ("sampled", "fitted"):
                seconds = fit(field, solid, steps, cell) if state == "fitted" else 0.0
                f = compare(field.surface(final=True).mesh(), solid)
                took = f"{seconds * 1e3:.0f} ms" if seconds else ""
                print(
                    f"| {name} | {kind} {resolution} | {state} | {f.faces} | {1e5 * f.chamfer:.1f} | {f.angle:.2f}° "
                    f"| {f.far_angle:.2f}° | {f.shape:.2f} | {100 * f.needles:.1f} % | {took} |",
                    flush=True,
                )


def cost(device: str, resolutions: list[int]) -> None:
    clock = time.process_time if device == "cpu" else time.perf_counter

    def seconds(call: Callable[[], object]) -> float:
        times = []
        for _ in range(5):
            synchronise(device)
            begun = clock()
            call()
            synchronise(device)
            times.append(clock() - begun)
        return statistics.median(times)

    solid = SOLIDS["torus"]
    print("| extractor | cells | grid vertices | tetrahedra or cubes | grid | faces | made | forward | + backward |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind, make in KINDS.items():
        for resolution in resolutions:
            begun = clock()
            field = make.near((-1, -1, -1), (1, 1, 1), resolution, solid.distance, device=device)
            synchronise(device)
            made = clock() - begun
            lattice = field.lattice
            parts = lattice.tets if isinstance(lattice, tetra.TetraLattice) else lattice.cubes

            def both(field: tetra.ShapeField = field) -> None:
                field.surface().vertices.square().sum().backward()

            both()
            forward, whole = seconds(field.surface), seconds(both)
            faces = len(field.surface().faces)
            print(
                f"| {kind} | {resolution} | {len(lattice.rest)} | {len(parts)} | {lattice.nbytes / 1e6:.0f} MB "
                f"| {faces} | {made:.1f} s | {forward * 1e3:.0f} ms | {whole * 1e3:.0f} ms |",
                flush=True,
            )
    print(f"\npeak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def outlines(device: str, resolutions: list[int]) -> None:
    """Pairs of pixels between the sphere and the background that antialiasing blends, of all there are."""
    print("| extractor, cells | faces | 256, reach 0 | 64 | 512, reach 0 | 64 | 1024, reach 0 | 64 |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for resolution in resolutions:
        for kind, make in KINDS.items():
            field = make.near((-1, -1, -1), (1, 1, 1), resolution, SOLIDS["sphere"].distance, device=device)
            surface = field.surface()
            points = surface.vertices.detach() @ torch.tensor(TURN, dtype=torch.float32, device=device) * 0.8
            pos = torch.cat([points, torch.ones_like(points[:, :1])], 1)[None]
            shares = []
            for side, reach in itertools.product((256, 512, 1024), (0, 64)):
                rast, _ = ops.rasterize(pos, surface.faces, (side, side))
                mask = (rast[..., 3:] > 0).float()
                soft = ops.antialias(mask, rast, pos, surface.faces, reach=reach)
                pairs = sum(int((mask.diff(dim=axis) != 0).sum()) for axis in (1, 2))
                shares.append(f"{100 * int((soft != mask).sum()) / pairs:.1f} %")
            print(f"| {kind} {resolution} | {len(surface.faces)} | {' | '.join(shares)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["quality", "cost", "outlines"])
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--resolution", type=int, nargs="+", help="cells a side (24 48; cost: 64 128 256; outlines: 32 64 128)"
    )
    parser.add_argument("--steps", type=int, default=200, help="of the fit")
    options = parser.parse_args()
    device = pick_device(options.device)
    print(f"{describe_device(device)['name']} ({device}), commit {commit()}\n")
    if options.what == "quality":
        print(f"Box of side 2, {options.steps} steps; chamfer in 1e-5.\n")
        print("| shape | extractor, cells | | faces | chamfer | normals | 95 % | triangles | needles | a step |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
        for resolution in options.resolution or [24, 48]:
            quality(device, resolution, options.steps)
    elif options.what == "outlines":
        outlines(device, options.resolution or [32, 64, 128])
    else:
        cost(device, options.resolution or [64, 128, 256])


if __name__ == "__main__":
    main()
