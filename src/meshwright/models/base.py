"""What every model has in common, seen from both sides.

Other programs see `inference(input_dir, output_dir)`: a whole reconstruction. The recipe sees `propose`: the one step
in which models differ. `inference` runs the recipe, and the recipe calls `propose`; since models lie upstream of the
recipe, it is handed to them (see `registry.bind_recipe` and docs/architecture.md).
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypedDict

from meshwright.device import cleanup_gpu_memory
from meshwright.errors import Cancelled, MeshwrightError, OptionError
from meshwright.types import Array, Camera, Mesh, Monitor, SilentMonitor, TexturedMesh, ViewSet

if TYPE_CHECKING:  # geometry brings SciPy and Warp, which who lists models does not need
    from meshwright.geometry.atlas.unwrap import Atlas

__all__ = [
    "Appearance",
    "BaseReconstructionModel",
    "Evidence",
    "InferenceResult",
    "Memory",
    "ModelOutput",
    "Proposal",
    "Recipe",
]

log = logging.getLogger(__name__)


class Memory(Protocol):
    """Where a long step keeps what it has reached, so that a killed run goes on from there."""

    def recall(self) -> Mapping[str, Any] | None:
        """What was kept last, for the same input and settings; None where nothing was."""

    def keep(self, state: Mapping[str, Any]) -> None:
        """Keeps arrays, numbers, strings, lists and mappings of these, in place of what was kept before."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is known about the object when a model begins.

    Attributes:
        views: The pictures with masks and depth, mirrored ones already flipped back.
        cameras: One per view, in pixels of its picture.
        shape: Visual hull with depth fused into it: dense, closed, world frame.
        device: Where to compute, `cpu` or `cuda:N`.
        effort: `draft`, `standard` or `high`.
        doubt: How far the shape may be wrong, as a share of its longest side.
        free_cameras: Whether cameras were fitted, and so may be fitted better; given ones stay.
        memory: For models that take long; None where nothing is kept.
        delivered: Whether what is proposed is what the user gets; else another model begins with it.
        faces: Most faces of the mesh that is delivered.
        texture_size: Side of its texture in texels.
    """

    views: ViewSet
    cameras: tuple[Camera, ...]
    shape: Mesh
    device: str
    effort: str = "standard"
    doubt: float = 0.01
    free_cameras: bool = True
    memory: Memory | None = None
    delivered: bool = True
    faces: int = 50_000
    texture_size: int = 2048


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """The surface that a model stands for.

    Attributes:
        mesh: Any number of faces; it is simplified, unwrapped and textured afterwards.
        light: The same surface as it is delivered, where the model needed it so: it is not simplified again then.
        atlas: Texture coordinates of `light`, where it needed those too.
        cameras: Where the model found better ones, one per view.
        report: What `quality.json` should say of the model's own work, JSON-able.
        warnings: Plain sentences for the user.
        doubt: How far the mesh may be wrong, as a share of its longest side; None if as far as the first shape.
        colours: What the model believes each vertex looks like, sRGB uint8 [N, 3], for what no view sees; None where it
            believes nothing.
    """

    mesh: Mesh
    light: Mesh | None = None
    atlas: Atlas | None = None
    cameras: tuple[Camera, ...] | None = None
    doubt: float | None = None
    colours: Array | None = None
    report: Mapping[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """What a model makes of the painted mesh where light is asked for apart.

    Attributes:
        textured: The same mesh with a `material`; without one where nothing could be fitted.
        report: What `quality.json` should say of it, JSON-able.
        warnings: Plain sentences for the user.
    """

    textured: TexturedMesh
    report: Mapping[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModelOutput:
    """Where a recipe left its main files."""

    mesh_path: Path
    ply_path: Path
    texture_path: Path


class InferenceResult(TypedDict):
    """What `inference` answers; the paths are None, and `error` is a sentence, where `status` is `failed`."""

    status: Literal["success", "failed"]
    mesh_path: str | None
    ply_path: str | None
    texture_path: str | None
    error: str | None


class Recipe(Protocol):
    """Runs every stage around a model's `propose`; `meshwright.pipeline.run_model` is the one there is."""

    def __call__(
        self,
        input_dir: Path,
        output_dir: Path,
        *,
        model: BaseReconstructionModel,
        monitor: Monitor,
        options: Mapping[str, object],
    ) -> ModelOutput:
        """Reads `input_dir`, writes every output into `output_dir`."""


class BaseReconstructionModel(ABC):
    """A model by name: what it needs, what it proposes, and a whole reconstruction with it.

    Args:
        recipe: The stages around `propose`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        monitor: Hears progress and can ask to stop.
        options: Fields of `ReconstructConfig` for `inference`, such as `quality="draft"`.
    """

    model_name: ClassVar[str]
    """The name in the registry."""
    required_vram_gb: ClassVar[float] = 0.0
    """GPU memory it cannot do without, GiB; 0 where it also runs on a CPU."""
    starts_from: ClassVar[str | None] = None
    """The model whose proposal is the first shape of this one; None where that is the hull with depth fused into it."""
    share: ClassVar[float] = 0.0
    """How long `propose` takes beside the other stages (those add up to 100); 0 where it is immediate."""
    light_share: ClassVar[float] = 0.0
    """How long `relight` takes beside the other stages; 0 where the model cannot tell materials from light."""
    start_share: ClassVar[float] = 0.0
    """The same where another model begins with what is proposed."""

    def __init__(
        self,
        *,
        recipe: Recipe,
        device: str = "auto",
        monitor: Monitor | None = None,
        options: Mapping[str, object] | None = None,
    ) -> None:
        self.recipe = recipe
        self.device = device
        self.monitor: Monitor = monitor if monitor is not None else SilentMonitor()
        self.options = dict(options or {})
        self.progress = 0.0
        self.fault: Exception | None = None
        """Why the last `inference` failed, for programs that need more than a sentence."""

    def load_weights(self) -> None:  # noqa: B027  (most models need no weights)
        """Makes ready what `propose` needs beyond code.

        Raises:
            WeightsNotInstalledError: A checkpoint is missing; the hint says what to use instead.
        """

    def warm_up(self, device: str) -> None:  # noqa: B027  (most models have nothing that takes long to load)
        """Does on a trifle what `propose` does, while something else goes on: what is called for the first time is
        loaded then, half a second and more on a GPU."""

    @abstractmethod
    def propose(self, evidence: Evidence, monitor: Monitor) -> Proposal:
        """The model's own step; `monitor` counts 0-100 over this step alone."""

    def relight(
        self, textured: TexturedMesh, views: ViewSet, cameras: Sequence[Camera], effort: str, monitor: Monitor
    ) -> Appearance:
        """Tells materials from light on the finished mesh, for `--lighting pbr`.

        Args:
            textured: The mesh with the colours of the views.
            views: The pictures with masks.
            cameras: As finally fitted, one per view.
            effort: `draft`, `standard` or `high`.
            monitor: Counts 0-100 over this step alone.
        Raises:
            OptionError: This model cannot; see `light_share`.
        """
        raise OptionError(f"{self.model_name} does not tell materials from light.", hint="Use --model nvdiffrec.")

    def inference(self, input_dir: str | Path, output_dir: str | Path) -> InferenceResult:
        """Reconstructs the views in `input_dir` into `output_dir`.

        Returns:
            Always a result: what went wrong stands in `error`, in words meant for the user. Only a wish to stop
            passes through as `Cancelled`.
        """
        self.progress = 0.0
        self.fault = None
        try:
            self.load_weights()
            output = self.recipe(
                Path(input_dir), Path(output_dir), model=self, monitor=_Relay(self), options=self.options
            )
        except Cancelled:
            raise
        except MeshwrightError as error:
            self.fault = error
            return _failed(str(error))
        except Exception as error:
            self.fault = error
            # A worker must survive any job. The trace goes to the log; the answer shows neither paths nor code.
            log.exception("model %s failed", self.model_name)
            return _failed(f"The model {self.model_name} stopped on an unexpected {type(error).__name__}.")
        finally:
            self.cleanup()
        return InferenceResult(
            status="success",
            mesh_path=str(output.mesh_path),
            ply_path=str(output.ply_path),
            texture_path=str(output.texture_path),
            error=None,
        )

    def cleanup(self) -> None:
        """Lets go of weights and GPU memory; the model can be used again after `load_weights`."""
        cleanup_gpu_memory()

    def report_progress(self, percent: float, step: str) -> None:
        """Passes progress on to the monitor; `percent` is kept within 0-100 and never falls."""
        self.progress = max(self.progress, min(max(float(percent), 0.0), 100.0))
        self.monitor.report(self.progress, step)


class _Relay:
    """The monitor that a recipe sees: progress goes through the model's `report_progress`."""

    def __init__(self, model: BaseReconstructionModel) -> None:
        self.model = model

    def report(self, percent: float, step: str) -> None:
        self.model.report_progress(percent, step)

    def check(self) -> None:
        self.model.monitor.check()


def _failed(message: str) -> InferenceResult:
    return InferenceResult(status="failed", mesh_path=None, ply_path=None, texture_path=None, error=message)
