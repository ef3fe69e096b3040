"""Rendered objects with known truth, reconstructed without their cameras: tidy, disturbed, swapped and mirrored.

    python benchmarks/objects.py DATA --out build/objects                         # every object, mode and case
    python benchmarks/objects.py DATA --out build/objects --score tools/score.py  # an independent measure
    python benchmarks/objects.py DATA --out build/objects --only spot,bob --modes none,depth_linear8 --cases plain
    python benchmarks/objects.py DATA --out build/objects --modes none --cases plain --model reconviagen
    python benchmarks/objects.py DATA --out build/fewer --modes four,three --cases plain --model hull,reconviagen
    python benchmarks/objects.py DATA --out build/starts --modes none --cases plain --model nvdiffrec,nvdiffrec@hull

DATA holds one folder per object in the layout of `meshwright synth` (views/, depth_*/, transforms_test.json,
gt_mesh.ply). Each run gets a folder with nothing but six views and one kind of depth (none, depth_...), or with fewer
views and no depth: `four` are front, back, left and right, `three` are front, left and top. Cases:

    plain           the views as they are
    disturbed       scale +-6 %, offset +-2 % of the width, depth rescaled by +-2 % and shifted by up to 4 pixels
    swapped         left and right exchanged
    mirror:VIEW     that view flipped left to right
    A+B             both, such as disturbed+mirror:top

`nvdiffrec@hull` is nvdiffrec started from the carved shape instead of from what the model reconviagen proposes.

Rows go to OUT/rows.jsonl as they are ready, and a second call goes on where the first one stopped; OUT/table.md is
written from all rows asked for.

Without --score the measure is our own: `meshwright.quality.compare_meshes` and `judge`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from tables import write_table

import meshwright
from meshwright.synth import DisturbConfig, disturb
from meshwright.transforms import read_cameras
from meshwright.types import VIEW_NAMES

SUBSETS = {"four": ("front", "back", "left", "right"), "three": ("front", "left", "top")}
"""Modes with fewer than six views, and without depth."""
MODES = ("none", "depth_metric", "depth_linear8", "depth_norm")
"""What is run unless asked otherwise."""
CASES = ("plain", "disturbed", "swapped", "mirror:front", "mirror:left", "mirror:top")
METRIC_UNIT = 0.0001
"""Length of one code of `depth_metric`; a user with metric renders knows it and says so."""
CARVED = "@hull"
"""Behind a model's name: it begins with the carved shape, whatever it begins with otherwise."""
STILL = {"scale": 0.0, "offset": 0.0, "depth_scale": 0.0, "depth_shift": 0.0}


@dataclass(frozen=True, kw_only=True)
class Task:
    """One reconstruction."""

    data: Path
    item: str
    mode: str
    case: str
    seed: int
    quality: str
    model: str
    device: str
    ground: str
    align: str
    state_unit: bool
    score: Path | None
    keep: Path | None

    @property
    def views(self) -> tuple[str, ...]:
        """The views that are given."""
        return SUBSETS.get(self.mode, VIEW_NAMES)

    @property
    def depth(self) -> str | None:
        """The folder of the depth renders that are given."""
        return None if self.mode == "none" or self.mode in SUBSETS else self.mode

    @property
    def key(self) -> str:
        """What makes two rows the same measurement."""
        key = (self.item, self.mode, self.case, self.seed, self.quality, self.ground)
        # Rows of the plain baseline are older than the choice of a model.
        return "|".join(map(str, key if self.model == "hull" else (*key, self.model)))


def case_config(case: str, seed: int, ground: str) -> DisturbConfig:
    """What `disturb` has to do for a case."""
    words = case.split("+")
    values: dict[str, object] = {"seed": seed, "studio": ground == "studio"}
    if "disturbed" not in words:
        values |= STILL
    for word in words:
        if word == "swapped":
            values["swap_left_right"] = True
        elif word.startswith("mirror:"):
            values["mirror"] = word.removeprefix("mirror:")
        elif word not in ("plain", "disturbed"):
            raise SystemExit(f"case {case!r}: {word!r} is none of plain, disturbed, swapped, mirror:VIEW")
    return DisturbConfig(**values)  # type: ignore[arg-type]


def assemble(task: Task, folder: Path) -> Path:
    """What a user would have: `views/` and `depth/`, no cameras, no truth."""
    if "mirror:" in task.case and task.case.rpartition("mirror:")[2] not in task.views:
        raise SystemExit(f"case {task.case!r}: mode {task.mode!r} has no such view")
    source = task.data / task.item
    if task.case != "plain" or task.ground == "studio":
        disturb(source, folder / "disturbed", case_config(task.case, task.seed, task.ground))
        source = folder / "disturbed"
    given = folder / "input"
    views = source / ("views_white" if task.ground == "white" else "views")
    for name in task.views:
        copy(views / f"{name}.png", given / "views" / f"{name}.png")
        if task.depth:
            copy(source / task.depth / f"{name}.png", given / "depth" / f"{name}.png")
    return given


def copy(source: Path, target: Path) -> None:
    """A file into a folder that may not exist yet."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def measure(task: Task) -> dict[str, object]:
    """One row: figures against the truth, and what was found out about the cameras."""
    row: dict[str, object] = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(task).items()}
    row["key"] = task.key
    options: dict[str, Any] = {"model": task.model, "quality": task.quality, "device": task.device}
    if task.model.endswith(CARVED):
        options["model"] = task.model.removesuffix(CARVED)
    if task.mode == "depth_metric" and task.state_unit:
        options |= {"depth_kind": "metric", "depth_unit": METRIC_UNIT}
    if task.views != VIEW_NAMES:
        options["views"] = task.views
    with tempfile.TemporaryDirectory(prefix="meshwright-objects-") as name:
        folder = Path(name)
        given = assemble(task, folder)
        begun = time.perf_counter()
        try:
            with beginning(task.model):
                result = meshwright.reconstruct(given, folder / "out", **options)
        except meshwright.MeshwrightError as error:
            return row | {"error": f"{type(error).__name__}: {error}"}
        row["seconds"] = round(time.perf_counter() - begun, 1)
        row |= judged(result.quality_json, task)
        if "disturbed" not in task.case:
            row["camera_error"] = camera_error(result.cameras, task)
        row |= scored_by_tool(task, result.mesh_glb) if task.score else scored_by_us(task, result.mesh_glb)
        if task.keep is not None:
            target = task.keep / task.key.replace("|", "_").replace(":", "-")
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(folder / "out", target)
    return row


@contextmanager
def beginning(model: str) -> Iterator[None]:
    """Within, a model named with `CARVED` begins with the carved shape; others as they always do."""
    kind = meshwright.AVAILABLE_MODELS[model.removesuffix(CARVED)]
    usual = kind.starts_from
    if model.endswith(CARVED):
        kind.starts_from = None
    try:
        yield
    finally:
        kind.starts_from = usual


def judged(quality_json: Path, task: Task) -> dict[str, object]:
    """What the run says about itself, and whether it is right about the rig."""
    document = json.loads(quality_json.read_text())
    cameras, warnings = document["details"]["cameras"], document["warnings"]
    words = task.case.split("+")
    mirrored = next((word.removeprefix("mirror:") for word in words if word.startswith("mirror:")), None)
    rig = f"left={'-x' if 'swapped' in words else '+x'},top=+z,bottom=+z"
    found = cameras.get("rig") == rig and cameras.get("mirrored") == mirrored
    said = True
    if "swapped" in words:
        said = any("exchanged" in warning for warning in warnings)
    if mirrored is not None:
        said = said and any(f"{mirrored} view is mirrored" in warning for warning in warnings)
    return {
        "status": document["status"],
        "own_psnr": document["mean"]["psnr"],
        "rig": cameras.get("rig"),
        "mirrored": cameras.get("mirrored"),
        "margin": cameras.get("margin"),
        "found": found,
        "said": said,
        "undecided": cameras.get("undecided", []),
        "warnings": warnings,
        "timings": document["timings"],
    }


def camera_error(cameras: Path, task: Task) -> float:
    """How far off, on average, the corners and the middle of the object's box land in the views, in % of the width."""
    corners = np.array([(0.0, 0.0, 0.0), *itertools.product((-0.5, 0.5), repeat=3)])
    true = {Path(name).name: camera for name, camera in read_cameras(task.data / task.item / "transforms_train.json")}
    if "swapped" in task.case.split("+"):
        true |= {"left": true["right"], "right": true["left"]}
    off = []
    for name, camera in read_cameras(cameras):
        other = true[Path(name).stem]
        gap = camera.project(corners)[0] / camera.width - other.project(corners)[0] / other.width
        off.append(float(np.linalg.norm(gap, axis=1).mean()))
    return round(100 * fmean(off), 4)


def scored_by_tool(task: Task, mesh: Path) -> dict[str, object]:
    """Figures of a scoring program that knows nothing of meshwright."""
    command = [sys.executable, str(task.score), "--pred", str(mesh), "--object", str(task.data / task.item)]
    done = subprocess.run([*command, "--align", task.align, "--json"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return {"error": f"the scoring program failed: {done.stderr.strip()[-300:]}"}
    result = json.loads(done.stdout)
    geometry, images = result["geometry"], result["images"]
    return {
        "f": geometry["fscore_0.01"],
        "chamfer": geometry["chamfer_l1"],
        "normals": geometry["normal_consistency"],
        "psnr": images["psnr"],
        "psnr_gain": images.get("psnr_gain"),
        "ssim": images["ssim"],
        "flip": images.get("flip"),
        "iou": images.get("sil_iou"),
        "watertight": result["mesh"]["watertight"],
        "measure": task.score.name if task.score else "",
    }


def scored_by_us(task: Task, mesh: Path) -> dict[str, object]:
    """Figures of our own measures, on the held-out views and the reference surface; never aligned."""
    from meshwright.export import load_textured
    from meshwright.inputs import InputConfig, read_inputs
    from meshwright.quality import compare_meshes, judge

    truth = task.data / task.item
    with tempfile.TemporaryDirectory(prefix="meshwright-held-out-") as name:
        copy(truth / "transforms_test.json", Path(name) / "transforms.json")
        shutil.copytree(truth / "test", Path(name) / "test")
        held_out = read_inputs(Path(name), InputConfig())
        assert held_out.cameras is not None
        report = judge(mesh.parent, held_out, held_out.cameras, mesh_file=mesh.name)
    geometry = compare_meshes(load_textured(mesh).mesh, load_textured(truth / "gt_mesh.ply").mesh)
    return {
        "f": geometry["fscore_0.01"],
        "chamfer": geometry["chamfer_l1"],
        "normals": geometry["normal_consistency"],
        "psnr": report.mean["psnr"],
        "ssim": report.mean["ssim"],
        "flip": report.mean["flip"],
        "iou": report.mean["silhouette_iou"],
        "watertight": report.mesh.watertight,
        "measure": "meshwright.quality",
    }


def find_objects(data: Path, only: str) -> list[str]:
    """Folders of DATA that hold an object with its truth."""
    found = sorted(folder.parent.name for folder in data.glob("*/gt_mesh.ply") if (folder.parent / "views").is_dir())
    wanted = [name for name in only.split(",") if name] or found
    missing = sorted(set(wanted) - set(found))
    if missing or not wanted:
        raise SystemExit(f"{data} holds {', '.join(found) or 'no object'}; not {', '.join(missing) or 'nothing'}")
    return wanted


def read_rows(path: Path) -> dict[str, dict[str, object]]:
    """Rows of earlier calls by key; failed ones are left out, so that they are tried again."""
    lines = path.read_text().splitlines() if path.is_file() else []
    rows = {row["key"]: row for row in map(json.loads, lines)}
    return {key: row for key, row in rows.items() if "error" not in row}


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with one folder per object")
    parser.add_argument("--out", type=Path, required=True, help="folder for rows.jsonl and table.md")
    parser.add_argument("--only", default="", help="objects, comma-separated (default: all)")
    parser.add_argument(
        "--modes", default=",".join(MODES), help="kinds of depth, or four, three: fewer views (default: %(default)s)"
    )
    parser.add_argument("--cases", default=",".join(CASES), help="what was done to the views (default: %(default)s)")
    parser.add_argument("--rig-modes", default="none,depth_linear8", help="modes of swapped and mirrored cases")
    parser.add_argument("--seed", type=int, default=0, help="of the disturbance")
    parser.add_argument("--quality", default="standard", help="draft, standard or high")
    parser.add_argument("--model", default="hull", help="hull, nvdiffrec or reconviagen, or several, comma-separated")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--ground", choices=("alpha", "white", "studio"), default="alpha", help="behind the object")
    parser.add_argument("--score", type=Path, help="score.py; without it our own measures are used")
    parser.add_argument("--align", choices=("none", "sim3"), default="none", help="for --score")
    parser.add_argument("--unknown-unit", action="store_true", help="do not say what one code of depth_metric is")
    parser.add_argument("--jobs", type=int, default=1, help="reconstructions at a time")
    parser.add_argument("--keep", type=Path, help="also keep every result below this folder")
    parser.add_argument("--fresh", action="store_true", help="forget the rows of earlier calls")
    return parser.parse_args(words)


def plan(options: argparse.Namespace) -> list[Task]:
    """Every reconstruction that was asked for, plain ones first."""
    tasks = []
    for case in options.cases.split(","):
        case_config(case, 0, "alpha")  # complains about a misspelt case before anything runs
        about_rig = "swapped" in case or "mirror" in case
        modes = options.modes.split(",")
        for mode in modes:
            if mode not in (*MODES, *SUBSETS):
                raise SystemExit(f"mode {mode!r} is none of {', '.join((*MODES, *SUBSETS))}")
            if about_rig and mode not in options.rig_modes.split(","):
                continue
            for item, model in itertools.product(find_objects(options.data, options.only), options.model.split(",")):
                tasks.append(
                    Task(
                        data=options.data,
                        item=item,
                        mode=mode,
                        case=case,
                        seed=options.seed if "disturbed" in case else 0,
                        quality=options.quality,
                        model=model,
                        device=options.device,
                        ground=options.ground,
                        align=options.align,
                        state_unit=not options.unknown_unit,
                        score=options.score,
                        keep=options.keep,
                    )
                )
    return tasks


def main(words: Sequence[str] | None = None) -> int:
    """Run what is missing, write rows and table; 1 if a run failed."""
    options = arguments(words)
    tasks = plan(options)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "rows.jsonl"
    if options.fresh:
        path.unlink(missing_ok=True)
    rows = read_rows(path)
    waiting = [task for task in tasks if task.key not in rows]
    failed = 0

    def finish(row: dict[str, object]) -> None:
        rows[str(row["key"])] = row
        with path.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        figures = f"F {row['f']:.3f}  PSNR {row['psnr']:.2f}" if "f" in row else row.get("error")
        what = f"{row['item']} {row['case']} {row['mode']} {row['model']}"
        print(f"[{len(rows)}] {what}: {figures}  {row.get('seconds')} s", flush=True)

    if options.jobs == 1:
        for task in waiting:
            finish(measure(task))
    else:
        # Spawned, not forked: Warp and torch do not survive a fork.
        with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
            for done in as_completed([pool.submit(measure, task) for task in waiting]):
                finish(done.result())
    shown = [rows[task.key] for task in tasks]
    failed = sum("error" in row for row in shown)
    text = write_table([row for row in shown if "error" not in row])
    (options.out / "table.md").write_text(text)
    print("\n" + text)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
