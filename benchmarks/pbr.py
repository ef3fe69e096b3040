"""How well materials and light come back, end to end: `python benchmarks/pbr.py --out build/pbr`.

Procedural solids with known base colour, roughness and metalness are rendered under a known light (split sum, no
shadows), as many posed pictures from all around (`posed`) or as the six product views (`six`). They are reconstructed
with `--model nvdiffrec`, `--lighting baked` and `pbr`, from pictures and true cameras. Judged are the files, reopened,
from cameras that were not given, over what both they and the truth show:

    kd            PSNR of the base colour (sRGB), after one common factor for the object: pictures do not tell how
                  bright the light was
    roughness, metalness   mean absolute difference; a baked result is matt (1 and 0), as its files say
    relit         PSNR (sRGB) of renders under two lights that were not used, with the same factor; the baked result as
                  a matt surface with the colours it has
    look          PSNR of `quality.json`: the files as they are delivered against the views

`--shape exact` fits on the true surface instead of a reconstructed one. OUT gets contact sheets, truth above, ours
below: base colour, roughness, metalness, normals, two relit renders.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from meshwright.colour import linear_to_srgb, to_srgb8
from meshwright.config import PRESETS
from meshwright.device import describe_device, map_threads, pick_device
from meshwright.export import export_result, load_textured
from meshwright.geometry import AtlasConfig, simplify, unwrap
from meshwright.inputs import InputConfig, read_inputs
from meshwright.models import get_model
from meshwright.pipeline import reconstruct
from meshwright.quality import judge
from meshwright.rendering import Picture, rasterize_mesh
from meshwright.rendering.light import EnvironmentLight, LightMaps, shade_pbr
from meshwright.rendering.lit import render_points
from meshwright.synth.rig import orbit_cameras, six_view_cameras
from meshwright.synth.solids import Paint, SynthObject, ball, box, cone, cylinder, ellipsoid, ring
from meshwright.synth.truth import prepare
from meshwright.texture import TextureConfig, bake_texture
from meshwright.transforms import write_cameras
from meshwright.types import Array, Camera, Mesh, Quality, SilentMonitor, TexturedMesh

GREY = Paint(colours=("#808080",))
SAMPLES = 3
"""Along a pixel's side, of the given pictures."""

Surface = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
"""Base colour (linear, [P, 3]), roughness and metalness ([P]) at places [P, 3] of the finished object."""


def mixed(share: torch.Tensor, a: Sequence[float], b: Sequence[float]) -> torch.Tensor:
    """Between two colours, [P, 3]."""
    share = share[:, None]
    return share * share.new_tensor(a) + (1 - share) * share.new_tensor(b)


def toy(at: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Glossy plastic in patches of four colours."""
    x, y, z = at.unbind(-1)
    first = torch.sigmoid(60 * torch.sin(9 * x + 2))
    second = torch.sigmoid(60 * torch.sin(8 * y + 5 * z))
    kd = second[:, None] * mixed(first, (0.6, 0.04, 0.05), (0.7, 0.5, 0.05))
    kd = kd + (1 - second[:, None]) * mixed(first, (0.05, 0.2, 0.55), (0.75, 0.75, 0.72))
    return kd, torch.full_like(x, 0.25), torch.zeros_like(x)


def lamp(at: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """A brushed golden stand with a matt ribbed shade."""
    x, y, z = at.unbind(-1)
    metal = torch.sigmoid(-200 * (y - 0.02))
    ribs = torch.sigmoid(20 * torch.sin(14 * torch.atan2(x, z)))
    kd = metal[:, None] * at.new_tensor((0.9, 0.62, 0.25)) + (1 - metal[:, None]) * mixed(
        ribs, (0.55, 0.62, 0.5), (0.16, 0.3, 0.24)
    )
    return kd, metal * 0.3 + (1 - metal) * 0.9, metal


def rock(at: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Rough, with veins of another colour that are smoother."""
    x, y, z = at.unbind(-1)
    wave = torch.sin(11 * x + 3 * torch.sin(7 * y)) + torch.sin(9 * z - 4 * torch.sin(6 * x))
    grain = 0.5 + 0.5 * torch.sin(43 * x + 31 * y) * torch.sin(37 * z + 5 * torch.sin(17 * y))
    vein = torch.sigmoid(12 * (wave.abs() - 0.9))
    kd = mixed(vein, (0.32, 0.27, 0.2), (0.6, 0.56, 0.5)) * (0.7 + 0.3 * grain[:, None])
    return kd, 0.45 + 0.4 * vein, torch.zeros_like(x)


@dataclass(frozen=True)
class Item:
    """An object: its solids, what they are made of, and of which lamps its light is."""

    solids: tuple[Any, ...]
    surface: Surface
    seed: int


ITEMS = {
    "toy": Item(
        (
            ball((0, 0.1, 0), 0.5, GREY),
            ball((0.32, 0.55, 0.05), 0.22, GREY).paired().blended(0.05),
            ellipsoid((0, 0.02, 0.46), (0.2, 0.14, 0.16), GREY).blended(0.08),
            cylinder((0, -0.45, 0), 0.42, 0.08, GREY, edge=0.05).blended(0.05),
        ),
        toy,
        11,
    ),
    "lamp": Item(
        (
            cylinder((0, -0.62, 0), 0.4, 0.06, GREY, edge=0.04),
            cone((0, -0.6, 0), (0, 0.05, 0), 0.16, 0.1, GREY).blended(0.1),
            ring((0, -0.28, 0), 0.2, 0.05, GREY).turned(x=90).blended(0.03),
            ellipsoid((0, 0.36, 0), (0.46, 0.36, 0.46), GREY).blended(0.04),
        ),
        lamp,
        12,
    ),
    "rock": Item(
        (
            box((0, 0, 0), (0.5, 0.34, 0.4), GREY, edge=0.14).turned(y=20, z=12),
            ball((0.2, 0.26, 0.1), 0.3, GREY).blended(0.12),
            ellipsoid((-0.36, -0.1, 0.16), (0.26, 0.22, 0.3), GREY).blended(0.1),
        ),
        rock,
        13,
    ),
}


def lamps(seed: int) -> Callable[[Array], Array]:
    """Light as a function of direction: a sky that is brighter above, and five lamps of slightly different colours."""
    rng = np.random.default_rng(seed)
    towards = rng.normal(size=(5, 3))
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    colours = 0.7 + 0.3 * rng.random((5, 3))
    sharp = np.array([15.0, 30.0, 30.0, 60.0, 120.0])

    def radiance(direction: Array) -> Array:
        ground = 0.4 + 0.25 * direction[:, 1:2]
        lit = np.exp(sharp * (direction @ towards.T - 1))[..., None] * 3 * colours
        return np.asarray(ground + lit.sum(1))

    return radiance


@dataclass(frozen=True)
class Truth:
    """The true object: its mesh, what it is made of, and its light."""

    mesh: Mesh
    surface: Surface
    light: LightMaps
    device: str

    @torch.no_grad()
    def picture(self, camera: Camera, what: str, light: LightMaps | None = None, samples: int = 2) -> Picture:
        """One of the kinds of `shown_as`, or `lit`."""
        fine = camera.resized(camera.width * samples, camera.height * samples)
        seen = rasterize_mesh(self.mesh, fine, device=self.device)
        covered = np.flatnonzero(seen.face_id >= 0)
        corner = self.mesh.faces[seen.face_id.ravel()[covered]]
        weights = seen.bary.reshape(-1, 3)[covered]

        def blended(values: Array) -> torch.Tensor:
            return torch.from_numpy(np.einsum("pk,pkc->pc", weights, values[corner]).astype(np.float32)).to(self.device)

        at, normal = (
            blended(self.mesh.vertices),
            torch.nn.functional.normalize(blended(self.mesh.vertex_normals()), dim=1),
        )
        stand = torch.from_numpy(camera.position.astype(np.float32)).to(self.device)
        kd, rough, metal = self.surface(at)
        view = torch.nn.functional.normalize(stand - at, dim=1)
        ks = torch.stack([torch.ones_like(rough), rough, metal], 1)
        colour = shown_as(what, kd, ks, normal, view, light or self.light)
        pixel = (covered // fine.width // samples) * camera.width + covered % fine.width // samples
        total = np.stack(
            [np.bincount(pixel, colour[:, c].cpu().numpy(), camera.width * camera.height) for c in range(3)], 1
        )
        count = np.bincount(pixel, minlength=camera.width * camera.height)
        size = (camera.height, camera.width)
        rgb = (total / np.maximum(count, 1)[:, None]).astype(np.float32)
        return Picture(rgb=rgb.reshape(*size, 3), alpha=(count / samples**2).astype(np.float32).reshape(size))


def shown_as(
    what: str, kd: torch.Tensor, ks: torch.Tensor, normal: torch.Tensor, view: torch.Tensor, light: LightMaps
) -> torch.Tensor:
    """A property of a surface as a linear colour, [P, 3]."""
    if what == "kd":
        return kd
    if what in ("roughness", "metalness"):
        return ks[:, {"roughness": 1, "metalness": 2}[what]][:, None].expand(-1, 3)
    if what == "normal":
        return normal / 2 + 0.5
    return shade_pbr(kd, ks, normal, view, light)


def our_picture(mesh: TexturedMesh, camera: Camera, what: str, light: LightMaps, factor: float, device: str) -> Picture:
    """The same of a result; its base colour times the object's factor."""
    return render_points(
        mesh,
        camera,
        lambda at: shown_as(what, (at.kd * factor).clamp(0, 1), at.ks, at.normal, at.view, light),
        device=device,
    )


def psnr(a: Array, b: Array, where: Array) -> float:
    """Of sRGB pictures of linear colours, over some pixels."""
    off = linear_to_srgb(a)[where] - linear_to_srgb(b)[where]
    return float(-10 * np.log10(max(float(np.square(off).mean()), 1e-12)))


def judged(mesh: TexturedMesh, truth: Truth, cameras: Sequence[Camera], lights: Sequence[LightMaps]) -> dict[str, Any]:
    """The figures of one result, and the pictures of the first camera for its sheet."""
    device = truth.device

    def both(camera: Camera, what: str, light: LightMaps, factor: float) -> tuple[Array, Array, Array]:
        real, ours = truth.picture(camera, what, light), our_picture(mesh, camera, what, light, factor, device)
        return real.rgb, ours.rgb, (real.alpha > 0.99) & (ours.alpha > 0.99)

    pairs = [both(camera, "kd", truth.light, 1.0) for camera in cameras]
    real = np.concatenate([pair[0][pair[2]] for pair in pairs])
    ours = np.concatenate([pair[1][pair[2]] for pair in pairs])
    factor = float((real * ours).sum() / max(float((ours * ours).sum()), 1e-9))
    figures: dict[str, Any] = {"factor": factor}
    figures["kd"] = float(np.mean([psnr(a, np.clip(b * factor, 0, 1), where) for a, b, where in pairs]))
    for what in ("roughness", "metalness"):
        found = [both(camera, what, truth.light, 1.0) for camera in cameras]
        figures[what] = float(np.mean([np.abs(a - b)[where].mean() for a, b, where in found]))
    relit = [both(camera, "lit", light, factor) for light in lights for camera in cameras]
    figures["relit"] = float(np.mean([psnr(*pair) for pair in relit]))
    sheet = [("kd", truth.light), ("roughness", truth.light), ("metalness", truth.light), ("normal", truth.light)]
    columns = [both(cameras[1], what, light, factor) for what, light in sheet]
    columns += [both(cameras[1], "lit", light, factor) for light in lights]
    figures["sheet"] = [
        np.concatenate([picture if what not in LINEAR else picture**2.2 for picture in pair[:2]])
        for pair, what in zip(columns, [name for name, _ in sheet] + ["lit"] * len(lights), strict=True)
    ]
    return figures


LINEAR = ("roughness", "metalness", "normal")
"""What is no colour; on sheets its codes are shown as they are."""


def write_pictures(truth: Truth, cameras: Sequence[Camera], folder: Path) -> None:
    """RGBA pictures and their cameras, a NeRF-synthetic folder."""
    (folder / "img").mkdir(parents=True, exist_ok=True)

    def write(camera: Camera) -> None:
        picture = truth.picture(camera, "lit", samples=SAMPLES)
        codes = np.concatenate([to_srgb8(picture.rgb), np.rint(picture.alpha[..., None] * 255).astype(np.uint8)], -1)
        Image.fromarray(codes).save(folder / "img" / f"{camera.name}.png")

    map_threads(write, cameras, device=truth.device)
    write_cameras(folder / "transforms_train.json", cameras, [f"img/{camera.name}.png" for camera in cameras])


def made(
    source: Path, folder: Path, lighting: str, shape: str, truth: Truth, quality: str, device: str
) -> dict[str, Any]:
    """Reconstructs into `folder`; the look's PSNR and seconds."""
    begun, cpu = time.perf_counter(), time.process_time()
    if shape == "found":
        result = reconstruct(
            source, folder, model="nvdiffrec", quality=quality, device=device, lighting=lighting, overwrite=True
        )
        seconds = result.timings.get("light", 0.0)
        return {"look": result.quality.mean["psnr"], "light_s": seconds, "total_s": time.perf_counter() - begun}
    views = read_inputs(source, InputConfig())
    assert views.cameras is not None
    size = PRESETS[Quality(quality)].texture_size
    mesh = simplify(truth.mesh, 50_000)
    atlas = unwrap(mesh, AtlasConfig(texture_size=size))
    config = TextureConfig(size=size)
    painted = bake_texture(mesh, atlas, views.views, views.cameras, config, SilentMonitor(), device)
    begun, cpu = time.perf_counter(), time.process_time()
    report: Any = {}
    if lighting == "pbr":
        model = get_model("nvdiffrec", device=device)
        found = model.relight(painted, views, views.cameras, quality, SilentMonitor())
        painted, report = found.textured, found.report
    seconds, processor = time.perf_counter() - begun, time.process_time() - cpu
    files = export_result(painted, views.cameras, [view.name for view in views.views], folder)
    look = judge(folder, views, files.cameras, device=device).mean["psnr"]
    return {"look": look, "light_s": seconds, "light_cpu_s": processor, "losses": report.get("losses")}


def main(words: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for pictures, results and sheets")
    parser.add_argument("--items", default=",".join(ITEMS))
    parser.add_argument("--views", default="posed,six")
    parser.add_argument("--lighting", default="baked,pbr")
    parser.add_argument("--shape", choices=("found", "exact"), default="found")
    parser.add_argument("--quality", default="draft")
    parser.add_argument("--posed", type=int, default=50, help="pictures of a posed set")
    parser.add_argument(
        "--size", type=int, default=320, help="pixels along an edge of a picture; six views: twice that"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args(words)
    device = pick_device(options.device)
    print(json.dumps(describe_device(device)), flush=True)
    lights = [EnvironmentLight.of(lamps(seed), 64, device=device).maps() for seed in (1, 2)]
    rows = []
    for name in options.items.split(","):
        item = ITEMS[name]
        mesh = prepare(SynthObject(name=name, summary=name, solids=item.solids), grid=192)[1]
        sun = EnvironmentLight.of(lamps(item.seed), 64, device=device)
        truth = Truth(mesh, item.surface, sun.maps(), device)
        unseen = [replace(camera, name=f"u_{i}") for i, camera in enumerate(orbit_cameras(8, 320, seed=7))]
        for views in options.views.split(","):
            source = options.out / name / views
            cameras = (
                orbit_cameras(options.posed, options.size) if views == "posed" else six_view_cameras(2 * options.size)
            )
            write_pictures(truth, cameras, source)
            for lighting in options.lighting.split(","):
                folder = options.out / name / f"{views}_{options.shape}_{lighting}"
                row = {"item": name, "views": views, "lighting": lighting, "shape": options.shape}
                row |= made(source, folder, lighting, options.shape, truth, options.quality, device)
                ours = load_textured(folder / "mesh.glb")
                assert isinstance(ours, TexturedMesh)
                figures = judged(ours, truth, unseen, lights)
                sheet = to_srgb8(np.concatenate(figures.pop("sheet"), 1))
                Image.fromarray(sheet).save(options.out / f"{name}_{views}_{options.shape}_{lighting}.png")
                row |= figures
                rows.append(row)
                print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}), flush=True)
    print(table(rows))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """As Markdown."""
    names = ("look", "kd", "roughness", "metalness", "relit")
    lines = ["| views | object | lighting | " + " | ".join(names) + " |", "| --- " * (3 + len(names)) + "|"]
    for row in rows:
        cells = [f"{row[name]:.3f}" if name in ("roughness", "metalness") else f"{row[name]:.1f} dB" for name in names]
        lines.append(f"| {row['views']} | {row['item']} | {row['lighting']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
