"""Stage one of `nvdiffrec`: how well views that it never saw are met, over the seconds it was given.

    python benchmarks/stage_one.py SCENE [SCENE ...] --device cuda:0 --out build/stage_one
    python benchmarks/stage_one.py DATA/spot_dense --effort draft --seconds 10,30
    python benchmarks/stage_one.py gear --device cuda:0 --shares 1,4 --set --set laplacian_weight=0.3 levels.2.move=0.02

SCENE is a NeRF-synthetic folder with `transforms_test.json`; with `gt_mesh.ply` in it (or `--truth`), surfaces are
scored too. For each number of seconds one fit is made, whose steps are as many as fit into it at the speed that its
parts were seen to have; what is reported are the seconds that it then took, from the pictures in memory to the
surface: the hull, carving and fitting. Kernels are compiled before. With `--shares` steps are so many times those of
the plan, and no speed has to be found out. With `--repeats` each fit is made so many times, from other seeds, and all
figures are medians. PSNR is of sRGB over white, mean over views; of views that were fitted beside it: what lies between
the two was learned by heart.

Each `--set` is a candidate, with values other than the plan's, see `settings`; an empty one is the plan.
With `--out` the tables and one SVG with a curve for each scene and candidate are written there.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from settings import changed

from meshwright.colour import from_srgb8
from meshwright.export import load_textured
from meshwright.geometry.tetra import ShapeField
from meshwright.inputs import read_inputs
from meshwright.models.nvdiffrec.stage_one.config import StageOneConfig
from meshwright.models.nvdiffrec.stage_one.fit import StageOne, fit_stage_one
from meshwright.models.nvdiffrec.stage_one.pictures import clip_matrices, linear_targets
from meshwright.models.nvdiffrec.stage_one.proposal import plan_of
from meshwright.models.nvdiffrec.stage_one.scene import Scene
from meshwright.quality import compare_meshes
from meshwright.transforms import read_cameras
from meshwright.types import Array, Camera, MaskSource, SilentMonitor, View, ViewSet

TRIAL = 0.04
"""The share of all steps from which their speed is taken."""
HEADER = (
    "| asked, s | of all steps | seconds | held-out PSNR, dB | of fitted views, dB | F@0.01 | normals | faces |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)
FITTED = 10
"""Of the views that were fitted so many are looked at again."""
COLOURS = ("#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad", "#d68910", "#555555")


def held_out(scene: Path) -> tuple[list[View], list[Camera]]:
    """Views that no fit sees."""
    views, cameras = [], []
    for name, camera in read_cameras(scene / "transforms_test.json"):
        path = scene / name
        path = path if path.suffix else path.with_suffix(".png")
        codes = np.asarray(Image.open(path).convert("RGBA"))
        rgb, mask = from_srgb8(codes[..., :3]), codes[..., 3].astype(np.float32) / 255
        cameras.append(camera.resized(codes.shape[1], codes.shape[0]))
        views.append(
            View(name=path.stem, rgb=rgb, mask=mask, mask_source=MaskSource.ALPHA, background=np.ones_like(rgb))
        )
    return views, cameras


class Pictures:
    """Views that a fit is compared with."""

    def __init__(self, views: Sequence[View], cameras: Sequence[Camera], device: str) -> None:
        self.views, self.cameras, self.device = views, cameras, device

    @torch.no_grad()
    def psnr(self, field: ShapeField, fitted: Scene) -> float:
        """Mean over the views, dB, as pictures are seen."""
        scene = copy.copy(fitted)
        points = fitted.volume.corner.cpu().numpy() + fitted.volume.edge / 2
        scene.matrices = clip_matrices(self.cameras, points, self.device)
        scene.stands = torch.tensor(
            np.stack([c.position for c in self.cameras]), dtype=torch.float32, device=self.device
        )
        surface, errors = field.surface(final=True), []
        for index, view in enumerate(self.views):
            chosen = torch.tensor([index], device=self.device)
            shown = scene.render(surface, chosen, view.height, view.width).picture
            wanted = linear_targets([view], view.width, view.height, self.device)
            errors.append((seen(shown) - seen(wanted)).square().mean())
        return float((-10 * torch.log10(torch.stack(errors))).mean())


def seen(picture: torch.Tensor) -> torch.Tensor:
    """sRGB over white of linear colour times cover, and cover."""
    linear = (picture[..., :3] / picture[..., 3:].clamp(min=1e-6)).clamp(0, 1)
    srgb = torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=1e-8) ** (1 / 2.4) - 0.055)
    return srgb * picture[..., 3:] + 1 - picture[..., 3:]


def shortened(config: StageOneConfig, share: float) -> StageOneConfig:
    """With so many times the steps."""

    def some(steps: int) -> int:
        return max(1, round(steps * share))

    carve = config.carve
    if carve is not None:
        carve = replace(carve, steps=tuple(map(some, carve.steps)))
    return replace(
        config, carve=carve, levels=tuple(replace(level, steps=some(level.steps)) for level in config.levels)
    )


def timed(
    everything: ViewSet, cameras: Sequence[Camera], config: StageOneConfig, device: str
) -> tuple[float, StageOne, ShapeField, Scene]:
    """A fit and the seconds it took."""
    last: list[tuple[ShapeField, Scene]] = []

    def look(field: ShapeField, scene: Scene) -> None:
        last[:] = [(field, scene)]

    settle(device)
    begun = time.perf_counter()
    found = fit_stage_one(everything.views, cameras, config, SilentMonitor(), device, look=look)
    settle(device)
    return time.perf_counter() - begun, found, *last[0]


def settle(device: str) -> None:
    """Waits for a GPU."""
    if device != "cpu":
        torch.cuda.synchronize(device)


class Trial:
    """One scene, read once, and what its fits are scored by."""

    def __init__(self, path: Path, truth: Path, device: str, repeats: int) -> None:
        self.name, self.device, self.repeats = path.name, device, repeats
        self.everything = read_inputs(path)
        if self.everything.cameras is None:
            raise SystemExit(f"{path} has no cameras")
        self.cameras = self.everything.cameras
        self.held = Pictures(*held_out(path), device)
        chosen = range(0, len(self.cameras), max(1, len(self.cameras) // FITTED))
        self.fitted = Pictures([self.everything.views[i] for i in chosen], [self.cameras[i] for i in chosen], device)
        self.surface = load_textured(truth).mesh if truth.exists() else None

    def seconds(self, config: StageOneConfig, share: float) -> float:
        """What a fit takes with so many times the steps."""
        return timed(self.everything, self.cameras, shortened(config, share), self.device)[0]

    def row(self, config: StageOneConfig, share: float, asked: str) -> tuple[float, float, str]:
        """Seconds and held-out PSNR of a fit, and its row of the table."""
        shorter = shortened(config, share)
        fits = [self.figures(replace(shorter, seed=config.seed + run)) for run in range(self.repeats)]
        seconds, unseen, known, faces, *scores = map(float, np.median(fits, axis=0))
        shape = " | ".join(f"{score:.3f}" for score in scores) or " | "
        return (
            seconds,
            unseen,
            f"| {asked} | {share:.2f} | {seconds:.1f} | {unseen:.2f} | {known:.2f} | {shape} | {faces:.0f} |",
        )

    def figures(self, config: StageOneConfig) -> list[float]:
        """Seconds, PSNR of held-out and of fitted views, faces, and scores where the surface is known."""
        seconds, found, field, scene = timed(self.everything, self.cameras, config, self.device)
        scores = compare_meshes(found.mesh, self.surface) if self.surface is not None else None
        return [
            seconds,
            self.held.psnr(field, scene),
            self.fitted.psnr(field, scene),
            len(found.mesh.faces),
            *([scores["fscore_0.01"], scores["normal_consistency"]] if scores is not None else []),
        ]

    def over_seconds(self, config: StageOneConfig, asked: Sequence[float]) -> Iterator[tuple[float, float, str]]:
        """Rows of fits that take so many seconds."""
        few, more = self.seconds(config, TRIAL), self.seconds(config, 4 * TRIAL)
        # On a busy machine the difference may be anything; what each fit then takes corrects it.
        whole = max((more - few) / (3 * TRIAL), more)
        fixed = max(few - TRIAL * whole, 0.0)
        print(f"{fixed:.1f} s and {whole:.1f} s for all steps", flush=True)
        for wanted in asked:
            share = max(wanted - fixed, 0.05 * wanted) / whole
            found = self.row(config, share, f"{wanted:g}")
            whole = max((found[0] - fixed) / share, 1e-3)
            yield found


def numbers(text: str) -> list[float]:
    """Separated by commas."""
    return [float(number) for number in text.split(",")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", type=Path, nargs="+")
    parser.add_argument("--truth", type=Path, help="mesh in the frame of the cameras, where it is not in the scene")
    parser.add_argument("--seconds", type=numbers, default="5,10,20,40,80", help="separated by commas")
    parser.add_argument("--shares", type=numbers, help="times the steps of the plan, instead of seconds")
    parser.add_argument("--repeats", type=int, default=1, help="fits of each, for medians")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--effort", default="high", choices=("draft", "standard", "high"))
    parser.add_argument("--set", nargs="*", action="append", metavar="NAME=VALUE", help="a candidate; may be repeated")
    parser.add_argument("--out", type=Path, help="folder for stage_one.md and stage_one.svg")
    options = parser.parse_args()
    plan = plan_of(options.effort, options.device)
    candidates = {" ".join(settings): changed(plan, settings) for settings in options.set or [[]]}
    curves: dict[str, Array] = {}
    pages: list[str] = []
    for path in options.scenes:
        trial = Trial(path, options.truth or path / "gt_mesh.ply", options.device, options.repeats)
        for label, config in candidates.items():
            title = f"{path.name}, {label}" if label else path.name
            print(f"\n### {title}\n", flush=True)
            trial.seconds(config, 0.0)  # kernels
            if options.shares is not None:
                found = (trial.row(config, share, "") for share in options.shares)
            else:
                found = trial.over_seconds(config, options.seconds)
            rows, curve = [HEADER], []
            print(HEADER, flush=True)
            for seconds, psnr, row in found:
                print(row, flush=True)
                rows.append(row)
                curve.append((seconds, psnr))
            curves[title] = np.array(curve)
            pages.append("\n".join([f"### {title}", "", *rows, ""]))
            if options.out is not None:  # after every curve: a run may be cut off
                options.out.mkdir(parents=True, exist_ok=True)
                (options.out / "stage_one.md").write_text("\n".join(pages), encoding="utf-8")
                draw(curves, options.out / "stage_one.svg")
    return 0


def draw(curves: dict[str, Array], path: Path) -> None:
    """PSNR over seconds, the latter as a logarithm, as an SVG: a line for each scene."""
    wide, high, edge = 560, 360, 56
    everything = np.concatenate(list(curves.values()))
    low, top = np.log2(everything[:, 0].min()), np.log2(everything[:, 0].max())
    least, most = np.floor(everything[:, 1].min()), np.ceil(everything[:, 1].max())

    def place(curve: Array) -> list[tuple[float, float]]:
        across = edge + (np.log2(curve[:, 0]) - low) / max(top - low, 1e-9) * (wide - 3 * edge)
        up = high - edge - (curve[:, 1] - least) / max(most - least, 1e-9) * (high - 2 * edge)
        return list(zip(across.tolist(), up.tolist(), strict=True))

    parts = []
    for level in np.arange(least, most + 1, max(1.0, np.ceil((most - least) / 8))):
        ((_, y),) = place(np.array([[everything[0, 0], level]]))
        parts.append(
            f'<line x1="{edge}" x2="{wide - 2 * edge}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
            f'<text x="{edge - 8}" y="{y + 4:.1f}" text-anchor="end">{level:g}</text>'
        )
    for power in range(int(np.ceil(low)), int(np.floor(top)) + 1):
        ((x, _),) = place(np.array([[2.0**power, least]]))
        parts.append(f'<text x="{x:.1f}" y="{high - edge + 18}">{2.0**power:g} s</text>')
    for (name, curve), colour in zip(curves.items(), itertools.cycle(COLOURS)):
        points = place(curve)
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points)
        x, y = points[-1]
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>{dots}'
            f'<text x="{x + 8:.1f}" y="{y + 4:.1f}" text-anchor="start" fill="{colour}">{name}</text>'
        )
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" font-family="sans-serif" font-size="11" '
        f'text-anchor="middle"><rect width="{wide}" height="{high}" fill="white"/>{"".join(parts)}'
        f'<text x="{wide / 2}" y="{high - 12}">seconds of stage one, hull and carving included</text>'
        f'<text x="{wide / 2}" y="24">PSNR of held-out views, dB</text></svg>\n',
        encoding="utf-8",
    )


if __name__ == "__main__":
    sys.exit(main())
