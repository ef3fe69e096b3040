"""What a reconstruction leaves: its files by name, and how good they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from meshwright.quality import QualityReport

__all__ = ["MATERIAL_NAMES", "OUTPUT_NAMES", "Result"]

OUTPUT_NAMES = (
    "mesh.obj",
    "mesh.mtl",
    "mesh.png",
    "mesh.ply",
    "mesh.glb",
    "previews",
    "masks",
    "cameras.json",
    "quality.json",
    "report.html",
)
"""Everything that a run leaves in its output folder."""
MATERIAL_NAMES = ("mesh_roughness.png", "mesh_metallic.png", "mesh_normal.png", "mesh_light.hdr")
"""What comes beside it with `lighting="pbr"`; without, those of an earlier run go."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a reconstruction left, and how good it is.

    Attributes:
        folder: The output folder.
        quality: The judgement of the files as written.
        timings: Seconds per stage, by name; of a stage taken from a killed run, those of that run.
        seconds: How long the whole took.
    """

    folder: Path
    quality: QualityReport
    timings: Mapping[str, float]
    seconds: float

    @property
    def status(self) -> str:
        """`normal`, `warning` or `failure`."""
        return self.quality.status.value

    @property
    def summary(self) -> str:
        """One line about the result."""
        return self.quality.summary

    @property
    def warnings(self) -> tuple[str, ...]:
        """Plain sentences about the input, the cameras and the result."""
        return self.quality.warnings

    @property
    def mesh_glb(self) -> Path:
        """Mesh and texture in one file."""
        return self.folder / "mesh.glb"

    @property
    def mesh_obj(self) -> Path:
        """The mesh as OBJ, with `mesh.mtl` and the texture beside it."""
        return self.folder / "mesh.obj"

    @property
    def mesh_ply(self) -> Path:
        """The mesh as PLY."""
        return self.folder / "mesh.ply"

    @property
    def texture(self) -> Path:
        """The base colour of the OBJ."""
        return self.folder / "mesh.png"

    @property
    def cameras(self) -> Path:
        """The cameras as finally fitted, in NeRF-synthetic form."""
        return self.folder / "cameras.json"

    @property
    def quality_json(self) -> Path:
        """Every figure of `quality`."""
        return self.folder / "quality.json"

    @property
    def report_html(self) -> Path:
        """Input, render and error side by side, on one page."""
        return self.folder / "report.html"
