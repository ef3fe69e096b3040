"""`meshwright evaluate`: score a mesh from anywhere against pictures, a reference surface, or both."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from meshwright.cli.console import emit, err, guarded, out
from meshwright.device import describe_device, pick_device
from meshwright.errors import CameraError, OptionError
from meshwright.transforms import find_image, read_cameras, write_cameras
from meshwright.types import VIEW_NAMES

if TYPE_CHECKING:
    from meshwright.quality import QualityReport

__all__ = ["evaluate"]


@guarded
def evaluate(
    mesh: Annotated[Path, typer.Argument(metavar="MESH", help="OBJ, GLB or PLY.")],
    views: Annotated[
        Path | None,
        typer.Option(
            metavar="VIEWS", help="Six-view folder or ZIP (with --cameras), NeRF folder, or a transforms_*.json."
        ),
    ] = None,
    cameras: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Cameras of the views, such as a result's cameras.json.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(metavar="MESH", help="Reference surface in the same frame and unit.")
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the comparison as HTML.")] = None,
    size: Annotated[int, typer.Option(help="Pixels of the longer side at which pictures are compared.")] = 512,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="The scores as one JSON line.")] = False,
) -> None:
    """Score any mesh against views (PSNR, SSIM, FLIP, silhouettes) or a true surface (F-score, chamfer, normals)."""
    if views is None and truth is None:
        raise OptionError("There is nothing to compare with.", hint="Give --views, --truth or both.")
    if views is None and (cameras is not None or report is not None):
        raise OptionError("--cameras and --report need --views.", hint="Give the views that the cameras belong to.")
    from meshwright.export import load_textured
    from meshwright.quality import compare_meshes

    pictures = None if views is None else _compare_views(mesh, views, cameras, size, device)
    geometry = None
    if truth is not None:
        geometry = compare_meshes(load_textured(mesh).mesh, load_textured(truth).mesh)
    if report is not None and pictures is not None:
        from meshwright.quality import write_report_html

        write_report_html(pictures, report)
    if as_json:
        emit("result", views=None if pictures is None else pictures.to_json(), geometry=geometry)
    else:
        _print(pictures, geometry)


def _compare_views(mesh: Path, views: Path, cameras: Path | None, size: int, device: str) -> QualityReport:
    from meshwright.inputs import InputConfig, read_inputs
    from meshwright.quality import JudgeConfig, judge

    if views.suffix.lower() == ".json":
        with tempfile.TemporaryDirectory(prefix="meshwright-evaluate-") as passing:
            pictures = read_inputs(_posed_folder(views, Path(passing)), InputConfig())
    else:
        pictures = read_inputs(views, InputConfig(cameras=cameras, views=None if cameras is None else _named(cameras)))
    if pictures.cameras is None:
        raise CameraError(
            f"{views.name!r} has no cameras.", hint="Give --cameras: the cameras.json that lies beside the mesh."
        )
    picked = pick_device(device)
    return judge(
        mesh.parent,
        pictures,
        pictures.cameras,
        mesh_file=mesh.name,
        config=JudgeConfig(longest_side=size),
        device=picked,
        device_name=str(describe_device(picked)["name"]),
        warnings=pictures.warnings,
    )


def _named(camera_file: Path) -> tuple[str, ...] | None:
    """The views that a camera file has cameras for, where these are some but not all of the six."""
    from meshwright.inputs.names import read_name

    named = {view for file_path, _ in read_cameras(camera_file) for view in read_name(file_path).views}
    return tuple(view for view in VIEW_NAMES if view in named) if 1 < len(named) < len(VIEW_NAMES) else None


def _posed_folder(camera_file: Path, folder: Path) -> Path:
    """A folder in NeRF-synthetic form with the pictures that one camera file names, whatever else lies beside them."""
    pairs = read_cameras(camera_file)
    stems = [camera.name for _, camera in pairs]
    distinct = len(set(stems)) == len(stems)
    names = []
    for index, (file_path, camera) in enumerate(pairs):
        names.append(f"{camera.name}.png" if distinct else f"{index:03d}_{camera.name}.png")
        picture = next((path for name in find_image(file_path) if (path := camera_file.parent / name).is_file()), None)
        if picture is None:
            raise CameraError(
                f"{camera_file.name} names {file_path!r}, which is not there.",
                hint="Paths in a camera file are relative to its folder.",
            )
        (folder / names[-1]).symlink_to(picture.absolute())
    write_cameras(folder / "transforms.json", [camera for _, camera in pairs], names)
    return folder


def _print(pictures: QualityReport | None, geometry: dict[str, float] | None) -> None:
    if pictures is not None:
        for warning in pictures.warnings:
            err.print(f"[yellow]warning:[/] {escape(warning)}")
        table = Table(box=None, pad_edge=False)
        table.add_column("view")
        for heading in ("PSNR dB", "SSIM", "FLIP", "outline IoU"):
            table.add_column(heading, justify="right")
        for view in pictures.views:
            table.add_row(
                escape(view.name),
                f"{view.psnr:.2f}",
                f"{view.ssim:.4f}",
                f"{view.flip:.4f}",
                f"{view.silhouette_iou:.4f}",
            )
        mean = pictures.mean
        figures = (f"{mean['psnr']:.2f}", f"{mean['ssim']:.4f}", f"{mean['flip']:.4f}", f"{mean['silhouette_iou']:.4f}")
        table.add_row("[bold]mean", *(f"[bold]{figure}" for figure in figures))
        out.print(table)
        out.print(f"[bold]{pictures.status.value}[/]: {escape(pictures.summary)}")
    if geometry is not None:
        table = Table(box=None, pad_edge=False, show_header=False)
        for name, value in geometry.items():
            table.add_row(name.replace("_", " "), f"{value:.5f}")
        out.print(table)
