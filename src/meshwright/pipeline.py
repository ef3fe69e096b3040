"""From six pictures to a textured, checked mesh: the one file that knows every stage.

`_recipe` reads top to bottom. What a caller gets back lies in `meshwright.result`, what is the same for every stage in
`meshwright.running`, how results get into place in `meshwright.workspace`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

import meshwright
from meshwright.ahead import Ahead
from meshwright.cameras import CameraSolution, move_cameras
from meshwright.config import ReconstructConfig
from meshwright.device import check_vram_available, describe_device, pick_device
from meshwright.errors import OptionError
from meshwright.export import export_result
from meshwright.first_stages import camera_config, carve, find_cameras, read, shape_config
from meshwright.geometry import (
    RIG_UNIT,
    Atlas,
    AtlasConfig,
    ShapeResult,
    remeasured,
    simplify,
    unwrap,
)
from meshwright.inputs import write_masks
from meshwright.models import (
    AVAILABLE_MODELS,
    Appearance,
    BaseReconstructionModel,
    Evidence,
    ModelOutput,
    Proposal,
    get_model,
)
from meshwright.progress import Plan, Stage
from meshwright.quality import (
    QualityReport,
    judge,
    picture_of,
    write_comparisons,
    write_previews,
    write_quality_json,
    write_report_html,
)
from meshwright.result import MATERIAL_NAMES, OUTPUT_NAMES, Result
from meshwright.running import Run
from meshwright.texture import TextureConfig, bake_texture
from meshwright.types import (
    Array,
    Camera,
    ColouredMesh,
    DepthKind,
    DepthMap,
    Lighting,
    MaskSource,
    MaterialMaps,
    Mesh,
    Monitor,
    SilentMonitor,
    TexturedMesh,
    View,
    ViewSet,
)
from meshwright.workspace import Workspace

__all__ = ["MATERIAL_NAMES", "OUTPUT_NAMES", "ReconstructConfig", "Result", "reconstruct", "run_model", "stages"]

Value = TypeVar("Value")

_RECORDS = (
    Appearance,
    Atlas,
    Camera,
    CameraSolution,
    DepthKind,
    DepthMap,
    MaskSource,
    MaterialMaps,
    Mesh,
    Proposal,
    ShapeResult,
    TexturedMesh,
    View,
    ViewSet,
)
"""What checkpoints may hold."""


def stages(
    model: type[BaseReconstructionModel] | BaseReconstructionModel, lighting: str = Lighting.BAKED
) -> tuple[Stage, ...]:
    """The stages of a run with this model, in order; shares are seconds at `standard` on two CPU cores."""
    first = model.starts_from
    share = AVAILABLE_MODELS[first].start_share if first else 0.0
    start = [Stage(name="start", title=f"Starting from {first}", share=share)] if first else []
    light = [Stage(name="light", title="Telling materials from light", share=model.light_share)]
    return (
        Stage(name="read", title="Reading the views", share=5),
        Stage(name="cameras", title="Finding the cameras", share=4),
        Stage(name="shape", title="Carving the shape", share=12),
        *start,
        Stage(name="model", title=f"Refining with {model.model_name}", share=model.share),
        Stage(name="simplify", title="Simplifying the mesh", share=0.5),
        Stage(name="unwrap", title="Laying out the texture", share=1),
        Stage(name="texture", title="Painting the texture", share=6),
        *(light if lighting == Lighting.PBR else ()),
        Stage(name="export", title="Writing the files", share=1),
        Stage(name="judge", title="Checking the files against the views", share=2),
        Stage(name="report", title="Writing previews and the report", share=2),
    )


def reconstruct(
    source: str | Path,
    output: str | Path,
    *,
    monitor: Monitor | None = None,
    ahead: Ahead | None = None,
    **options: object,
) -> Result:
    """Turns the views in `source` into a textured mesh in `output`.

    Args:
        source: A folder or ZIP with six views, or those that the option `views` names (and depth renders), or a posed
            image set in NeRF-synthetic form.
        output: The folder to make.
        monitor: Hears progress and can ask to stop.
        ahead: Is at the first stages already, with the same source and options.
        options: Fields of `ReconstructConfig`, such as `quality="draft"` or `size=0.3`.
    Returns:
        Paths, quality and warnings. A result that does not look like its views is returned too: see `status`.
    Raises:
        MeshwrightError: With what was found, and what to do. Nothing half-written is left behind.
    """
    config = _config(options)
    model = get_model(config.model, device=config.device, recipe=run_model, generation=config.generation)
    try:
        model.load_weights()
        return _run(Path(source), Path(output), config, model, monitor or SilentMonitor(), ahead)
    finally:
        model.cleanup()


def run_model(
    input_dir: Path,
    output_dir: Path,
    *,
    model: BaseReconstructionModel,
    monitor: Monitor,
    options: Mapping[str, object],
) -> ModelOutput:
    """The recipe as a model's `inference` runs it; `options` are fields of `ReconstructConfig`."""
    config = replace(_config(options), model=model.model_name, device=model.device)
    result = _run(Path(input_dir), Path(output_dir), config, model, monitor)
    return ModelOutput(mesh_path=result.mesh_obj, ply_path=result.mesh_ply, texture_path=result.texture)


def _config(options: Mapping[str, object]) -> ReconstructConfig:
    known = [item.name for item in fields(ReconstructConfig)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise OptionError(f"There is no option {unknown[0]!r}.", hint=f"Options are {', '.join(known)}.")
    return ReconstructConfig(**options)  # type: ignore[arg-type]


def _run(
    source: Path,
    output: Path,
    config: ReconstructConfig,
    model: BaseReconstructionModel,
    monitor: Monitor,
    ahead: Ahead | None = None,
) -> Result:
    begun = time.perf_counter()
    device = pick_device(config.device)
    if device != "cpu":
        check_vram_available(model.required_vram_gb, device)
    if ahead is not None:
        ahead.carve_on(device)
    _check_apart(source, output)
    with Workspace(
        output, own_names=(*OUTPUT_NAMES, *MATERIAL_NAMES), overwrite=config.overwrite, needed_bytes=config.disk_bytes
    ) as workspace:
        plan = Plan(stages(model, config.lighting))
        with Run(plan, monitor, workspace, live_pictures=config.live_pictures) as run:
            quality = _recipe(source, config, model, device, run, ahead)
            run.settle()
        workspace.commit()
    seconds = time.perf_counter() - begun
    monitor.report(100, "Done")
    return Result(folder=output, quality=quality, timings=dict(run.timings), seconds=seconds)


def _recipe(
    source: Path,
    config: ReconstructConfig,
    model: BaseReconstructionModel,
    device: str,
    run: Run,
    ahead: Ahead | None,
) -> QualityReport:
    """Every stage, from the pictures to the report."""
    folder = run.workspace.result

    def taken(stage: str, monitor: Monitor, work: Callable[[], Value]) -> Value:
        """From the process that works ahead, or done here."""
        found: Value | None = ahead.result(stage, monitor) if ahead is not None else None
        return work() if found is None else found

    def see(monitor: Monitor) -> ViewSet:
        if ahead is not None:
            model.warm_up(device)
        return taken("read", monitor, lambda: read(source, config))

    views = run.do("read", see)
    run.beside(lambda: write_masks(views, folder / "masks"))  # for the user to see what was taken for the object
    run.show("views", lambda: _sheet(run, folder / "masks" / "contact_sheet.png"))
    run.begin_checkpoints(views, _RECORDS, meshwright.__version__)

    solution = run.keep(
        "cameras",
        CameraSolution,
        lambda m: taken("cameras", m, lambda: find_cameras(views, config, m)),
        camera_config(config),
    )
    shape = run.keep(
        "shape",
        ShapeResult,
        lambda m: taken("shape", m, lambda: carve(solution, config, device, m)),
        shape_config(solution, config),
    )
    run.show("shape", lambda: picture_of(shape.mesh, device=device))

    evidence = Evidence(
        views=solution.views,
        cameras=solution.cameras,
        shape=shape.mesh,
        device=device,
        effort=config.quality.value,
        doubt=shape.doubt,
        free_cameras=solution.frame == "free",
        faces=config.faces,
        texture_size=config.texture_pixels,
    )
    first = None
    if model.starts_from:
        first = run.keep(
            "start",
            Proposal,
            lambda m: _start(model.starts_from or "", config, evidence, device, m),
            model.starts_from,
            evidence.effort,
            config.generation,
        )
        run.show("proposal", lambda: picture_of(first.mesh, device=device))
        evidence = replace(evidence, shape=first.mesh, doubt=evidence.doubt if first.doubt is None else first.doubt)
    proposal = run.keep(
        "model",
        Proposal,
        lambda m: model.propose(replace(evidence, memory=run.memory("model")), m),
        model.model_name,
        evidence.effort,
        config.generation,
        evidence.faces,
        evidence.texture_size,
    )
    if proposal.cameras is not None:
        solution = replace(solution, cameras=proposal.cameras)
    measured = run.beside(
        lambda: (
            shape
            if proposal.mesh is shape.mesh
            else remeasured(shape, proposal.mesh, solution.views.views, solution.cameras)
        )
    )

    if proposal.mesh is not evidence.shape:
        run.show("model", lambda: picture_of(proposal.mesh, device=device))

    mesh = run.keep("simplify", Mesh, lambda _: proposal.light or simplify(proposal.mesh, config.faces), config.faces)
    atlas_config = AtlasConfig(texture_size=config.texture_pixels)
    atlas = run.keep("unwrap", Atlas, lambda m: proposal.atlas or unwrap(mesh, atlas_config, m), atlas_config)

    texture_config = TextureConfig(size=config.texture_pixels)
    textured = run.keep(
        "texture",
        TexturedMesh,
        lambda m: bake_texture(
            mesh,
            atlas,
            solution.views.views,
            solution.cameras,
            texture_config,
            m,
            device,
            unseen=_coloured(proposal, first),
        ),
        texture_config,
    )

    run.show("texture", lambda: picture_of(textured, device=device))

    lit = Appearance(textured=textured)
    if config.lighting is Lighting.PBR:
        lit = run.keep(
            "light",
            Appearance,
            lambda m: model.relight(textured, solution.views, solution.cameras, config.quality.value, m),
            model.model_name,
            config.quality.value,
        )
        run.show("light", lambda: picture_of(lit.textured, device=device))

    textured, cameras = framed(lit.textured, solution, measured.result(), config.size)
    pictures = _pictures(source, solution.views, run.workspace.output)
    files = run.do("export", lambda _: export_result(textured, cameras, pictures, folder))
    drawn = run.beside(
        lambda: write_previews(
            files.textured,
            files.cameras,
            folder / "previews",
            size=config.preset.preview_size,
            monitor=run.monitor,
            device=device,
        )
    )

    notes = (atlas.note,) if atlas.note else ()
    before = first.warnings if first else ()
    warnings = (
        *views.warnings,
        *solution.warnings,
        *shape.warnings,
        *before,
        *proposal.warnings,
        *notes,
        *lit.warnings,
    )

    def check(monitor: Monitor) -> QualityReport:
        monitor.report(0, "Rendering the files")
        return judge(
            folder,
            solution.views,
            files.cameras,
            monitor=monitor,
            device=device,
            device_name=_device_name(device),
            model=model.model_name,
            warnings=warnings,
        )

    quality = run.do("judge", check)
    quality = replace(
        quality,
        timings=dict(run.timings),
        details={
            "settings": config.plain(),
            "cameras": solution.report,
            "shape": shape.report,
            "start": first.report if first else {},
            "model": proposal.report,
            "atlas": atlas.method,
            **({"light": lit.report} if lit.report else {}),
        },
    )

    def write(monitor: Monitor) -> None:
        monitor.report(0, "Drawing previews")
        run.beside(lambda: write_comparisons(quality, folder / "previews"))
        previews = drawn.result()
        monitor.report(80, "Writing the report")
        write_quality_json(quality, folder / "quality.json")
        write_report_html(quality, folder / "report.html", previews=previews)

    run.do("report", write)
    return quality


def _coloured(*proposals: Proposal | None) -> ColouredMesh | None:
    """The first of them that believes in colours."""
    for proposal in proposals:
        if proposal is not None and proposal.colours is not None:
            return ColouredMesh(mesh=proposal.mesh, colors_srgb=proposal.colours)
    return None


def _start(name: str, config: ReconstructConfig, evidence: Evidence, device: str, monitor: Monitor) -> Proposal:
    """The proposal of the model that another one starts from."""
    model = get_model(name, device=device, recipe=run_model, generation=config.generation)
    try:
        model.load_weights()
        return model.propose(replace(evidence, delivered=False), monitor)
    finally:
        model.cleanup()


def _sheet(run: Run, path: Path) -> Array:
    """A picture that is being written, sRGB uint8 [H, W, 3]."""
    run.settle()
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def framed(
    textured: TexturedMesh, solution: CameraSolution, shape: ShapeResult, size: float | None
) -> tuple[TexturedMesh, tuple[Camera, ...]]:
    """Mesh and cameras in the frame that the result is delivered in.

    Given cameras keep their frame, and their unit unless a size is asked for. Otherwise the longest side becomes `size`
    or 1, and where scale and origin were fitted the object's middle becomes the origin. A rig's unit is the longest
    side of its object, so it stands where the views leave room for that.

    Args:
        textured: In the frame of the solution's cameras.
        solution: The cameras, and how free their frame is.
        shape: The object's box and longest side. The mesh's own box would do worse: smoothing shortens its tips.
        size: Longest side in metres.
    """
    longest = shape.longest
    centre = shape.extent.mean(0) if solution.frame == "free" else np.zeros(3)
    if solution.frame == "rig" and -RIG_UNIT < longest - 1.0 < RIG_UNIT + shape.slack:
        longest = 1.0
    scale = 1.0 if size is None and solution.frame == "given" else (size or 1.0) / longest
    vertices = scale * (textured.mesh.vertices.astype(np.float64) - centre)
    moved = replace(textured, mesh=replace(textured.mesh, vertices=vertices.astype(np.float32)))
    return moved, move_cameras(solution.cameras, centre=centre, scale=scale)


def _pictures(source: Path, views: ViewSet, output: Path) -> list[str]:
    """Where each view's picture lies, seen from the output folder; inside an archive only its name can be said."""
    root = source.absolute()
    if not root.is_dir():
        return [view.source or view.name for view in views.views]
    return [Path(os.path.relpath(root / view.source, output)).as_posix() for view in views.views]


def _check_apart(source: Path, output: Path) -> None:
    """Results must not land among the pictures, nor replace them."""
    source, output = source.resolve(), output.resolve()
    replaced = any(
        source == output / name or (output / name) in source.parents for name in (*OUTPUT_NAMES, *MATERIAL_NAMES)
    )
    if output == source or source in output.parents or replaced:
        raise OptionError(
            f"The output folder {output.name!r} and the input {source.name!r} lie inside each other.",
            hint="Choose an output folder outside the input.",
        )


def _device_name(device: str) -> str:
    about = describe_device(device)
    cores = f", {about['cores']} cores" if "cores" in about else ""
    return f"{about['name']}{cores} ({device})"
