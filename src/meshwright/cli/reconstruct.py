"""`meshwright reconstruct`: six views to a mesh."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from meshwright.ahead import Ahead
from meshwright.cli.console import emit, err, guarded, out, show_progress
from meshwright.device import open_early, pick_device
from meshwright.models.generation import Generation
from meshwright.models.registry import DEFAULT_MODEL
from meshwright.types import DepthKind, Lighting, Quality

if TYPE_CHECKING:
    from meshwright.pipeline import Result

__all__ = ["reconstruct"]

NETWORKS = "Networks of reconviagen (only checkpoint and refine matter to mini)"


@guarded
def reconstruct(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT", help="Folder or ZIP with six views (and depth renders), or a NeRF-synthetic folder."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the results.")],
    model: Annotated[str, typer.Option(help="reconviagen, nvdiffrec or hull.")] = DEFAULT_MODEL,
    quality: Annotated[Quality, typer.Option(help="How much time to spend.")] = Quality.STANDARD,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    faces: Annotated[int, typer.Option(help="Most triangles of the result.")] = 50_000,
    texture_size: Annotated[
        int | None, typer.Option(help="Side of the texture in pixels. (default: 1024, 2048 or 4096 by quality)")
    ] = None,
    size: Annotated[
        float | None,
        typer.Option(metavar="METRES", help="Longest side of the object. (default: 1, or as given cameras have it)"),
    ] = None,
    views: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Use these views only, such as front,left,top. (default: all six)"),
    ] = None,
    depth_dir: Annotated[Path | None, typer.Option(help="Depth renders, if they do not lie beside the views.")] = None,
    use_depth: Annotated[
        bool, typer.Option("--depth/--no-depth", help="Whether depth renders shape the result.")
    ] = True,
    depth_kind: Annotated[
        DepthKind, typer.Option(help="What depth values mean; auto finds out by agreement with the silhouettes.")
    ] = DepthKind.AUTO,
    depth_unit: Annotated[
        str | None,
        typer.Option(help="Length of one code of metric depth: m, cm, mm, 0.1mm, um, or a number in object units."),
    ] = None,
    rig: Annotated[str, typer.Option(help="Which way the views look: auto, or the name of a rig.")] = "auto",
    cameras: Annotated[
        Path | None, typer.Option(help="Camera file (transforms.json, cameras.json) to use as it is.")
    ] = None,
    refine_cameras: Annotated[bool, typer.Option("--refine-cameras", help="Calibrate given cameras too.")] = False,
    lighting: Annotated[
        Lighting,
        typer.Option(help="baked: the texture shows the views, light and all; pbr: materials and light (nvdiffrec)."),
    ] = Lighting.BAKED,
    checkpoint: Annotated[
        str,
        typer.Option(
            help="mini, trellis-vggt-v0-2, or auto: the large one where it is installed and a GPU is used.",
            rich_help_panel=NETWORKS,
        ),
    ] = Generation.checkpoint,
    seed: Annotated[
        int, typer.Option(help="Of the noise that sampling starts from.", rich_help_panel=NETWORKS)
    ] = Generation.seed,
    structure_steps: Annotated[
        int, typer.Option(help="Sampling steps of the occupied structure.", rich_help_panel=NETWORKS)
    ] = Generation.structure_steps,
    structure_guidance: Annotated[
        float, typer.Option(help="How strongly the views steer it; 1 adds nothing.", rich_help_panel=NETWORKS)
    ] = Generation.structure_guidance,
    detail_steps: Annotated[
        int, typer.Option(help="Sampling steps of the detail on it.", rich_help_panel=NETWORKS)
    ] = Generation.detail_steps,
    detail_guidance: Annotated[
        float, typer.Option(help="How strongly the views steer the detail.", rich_help_panel=NETWORKS)
    ] = Generation.detail_guidance,
    refine: Annotated[
        bool,
        typer.Option(
            "--refine/--no-refine",
            help="Whether what networks propose is briefly refined against the views.",
            rich_help_panel=NETWORKS,
        ),
    ] = Generation.refine,
    unseen_colours: Annotated[
        bool,
        typer.Option(
            "--unseen-colours/--no-unseen-colours",
            help="Whether the large networks' colours fill what no view sees.",
            rich_help_panel=NETWORKS,
        ),
    ] = Generation.unseen_colours,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write into a folder that holds other files; those stay.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Progress and result as JSON lines on stdout.")] = False,
) -> None:
    """Turn six views (or fewer, with --views) of an object into a textured mesh and check it against them.

    OUT gets the mesh as GLB, OBJ and PLY, previews, masks, fitted cameras, quality.json and report.html.
    """
    options: dict[str, object] = {
        "model": model,
        "quality": quality,
        "device": device,
        "faces": faces,
        "texture_size": texture_size,
        "size": size,
        "views": views,
        "depth_dir": depth_dir,
        "use_depth": use_depth,
        "depth_kind": depth_kind,
        "depth_unit": depth_unit,
        "rig": rig,
        "cameras": cameras,
        "refine_cameras": refine_cameras,
        "lighting": lighting,
        "generation": {
            "checkpoint": checkpoint,
            "seed": seed,
            "structure_steps": structure_steps,
            "structure_guidance": structure_guidance,
            "detail_steps": detail_steps,
            "detail_guidance": detail_guidance,
            "refine": refine,
            "unseen_colours": unseen_colours,
        },
        "overwrite": overwrite,
    }
    # Both go on while torch is imported, which whoever has a GPU needs.
    early = open_early(device)
    ahead = Ahead(source, options) if early is not None else None
    try:
        _run(source, output, options, ahead, as_json=as_json)
    finally:
        if ahead is not None:
            ahead.close()


def _run(source: Path, output: Path, options: dict[str, object], ahead: Ahead | None, *, as_json: bool) -> None:
    from meshwright import pipeline
    from meshwright.config import ReconstructConfig
    from meshwright.models import AVAILABLE_MODELS
    from meshwright.progress import Plan

    config = ReconstructConfig(**options)  # type: ignore[arg-type]  # says what is wrong before anything is shown
    plan = Plan(pipeline.stages(AVAILABLE_MODELS[config.model], config.lighting))
    pick_device(config.device)  # with a GPU this imports torch
    # What imports made stays: nobody has to look through it for garbage again.
    gc.freeze()
    with show_progress(plan, as_json=as_json) as monitor:
        result = pipeline.reconstruct(source, output, monitor=monitor, ahead=ahead, **options)
    if as_json:
        emit("result", **_document(result))
    else:
        _print_result(result)


def _document(result: Result) -> dict[str, object]:
    return {
        "status": result.status,
        "summary": result.summary,
        "warnings": list(result.warnings),
        "seconds": round(result.seconds, 2),
        "timings": {name: round(seconds, 3) for name, seconds in result.timings.items()},
        "files": {
            name: str(getattr(result, name))
            for name in ("mesh_glb", "mesh_obj", "mesh_ply", "texture", "cameras", "quality_json", "report_html")
        },
    }


_COLOURS = {"normal": "green", "warning": "yellow", "failure": "red"}


def _print_result(result: Result) -> None:
    for warning in result.warnings:
        err.print(f"[yellow]warning:[/] {escape(warning)}")
    colour = _COLOURS[result.status]
    out.print(f"[bold {colour}]{result.status}[/]: {escape(result.summary)}")
    table = Table.grid(padding=(0, 2))
    for title, path in (("mesh", result.mesh_glb), ("report", result.report_html), ("all", result.folder)):
        table.add_row(f"  {title}", escape(_short(path)))
    out.print(table)


def _short(path: Path) -> str:
    """A path as a person would type it from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
