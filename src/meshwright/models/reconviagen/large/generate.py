"""Pictures of an object become the whole object: every large network in turn, and never two of them in memory.

Letters: N views, L tokens of a view, C channels, M voxels that the object fills.
Frame: the object fills [-0.5, 0.5] on every axis, z up; which way its front looks is the networks' choice.
Source: Chang et al. 2025, "ReconViaGen", arXiv:2510.23306; Xiang et al. 2024, arXiv:2412.01506.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from meshwright.device import GIB, cleanup_gpu_memory
from meshwright.errors import InputError, VramError
from meshwright.models.reconviagen.large.config import GenerationConfig, LatentScale
from meshwright.models.reconviagen.large.extraction import extract
from meshwright.models.reconviagen.large.gaussians import Gaussians
from meshwright.models.reconviagen.large.nets.conditions import GEOMETRY_LAYERS, SPECIAL_TOKENS
from meshwright.models.reconviagen.large.nets.structure_decoder import occupied
from meshwright.models.reconviagen.large.networks import Networks, put
from meshwright.models.reconviagen.large.pictures import prepared, stacked
from meshwright.models.reconviagen.large.sampling import (
    SamplerConfig,
    denormalised,
    guided_velocity,
    no_condition,
    sample,
)
from meshwright.models.reconviagen.large.sparse.tensor import SparseTensor
from meshwright.progress import Plan, Stage
from meshwright.types import Array, Mesh, Monitor, SilentMonitor

__all__ = ["Generated", "generate"]

Found = TypeVar("Found")

_PLAN = Plan(
    (
        Stage(name="dinov2", title="Looking at each picture", share=6.0),
        Stage(name="vggt", title="Looking at the pictures together", share=15.0),
        Stage(name="conditions", title="Fusing what the pictures show", share=4.0),
        Stage(name="structure", title="Finding the object's shape", share=34.0),
        Stage(name="detail", title="Finding its detail", share=28.0),
        Stage(name="surface", title="Making its surface", share=12.0),
    )
)


@dataclass(frozen=True, kw_only=True)
class Generated:
    """The object as the networks see it.

    Attributes:
        mesh: float32 vertices in the networks' frame; open where the surface meets the border of the grid.
        colours: sRGB of every vertex, uint8 [N, 3].
        gaussians: The object as gaussians, where asked for; on the device of the run.
        report: Seconds, memory, precisions and sizes, JSON-able.
        warnings: Plain sentences for the user.
    """

    mesh: Mesh
    colours: Array
    gaussians: Gaussians | None = None
    report: dict[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def generate(
    pictures: Sequence[Array],
    networks: Networks,
    config: GenerationConfig | None = None,
    monitor: Monitor | None = None,
    device: str = "cpu",
) -> Generated:
    """Makes an object.

    The same seed, pictures and device give the same object.

    Args:
        pictures: N of any size, uint8 RGBA [H, W, 4], sRGB, straight alpha that says where the object is.
        networks: Loads one network at a time.
        config: Seed and samplers; None for the published ones.
        monitor: Hears 0-100; asked between all calls of networks whether to go on.
        device: `cpu` or `cuda:N`.
    Raises:
        InputError: There is no picture, a picture shows no object, or the networks see none in them.
        WeightsNotInstalledError: A network cannot be loaded.
        VramError: The GPU has too little free memory.
    """
    if not pictures:
        raise InputError("There is no picture to make an object of.", hint="Give one at least.")
    run = _Run(networks, config or GenerationConfig(), monitor or SilentMonitor(), device)
    try:
        with torch.no_grad():
            return run.whole(pictures)
    except torch.cuda.OutOfMemoryError as error:
        raise VramError(
            f"The GPU ran out of memory while the large networks worked ({run.stage}).",
            hint="Close other programs on this GPU, give fewer views, or use --device cpu.",
        ) from error
    finally:
        run.free()


@dataclass(frozen=True, kw_only=True)
class _Conditions:
    """What the flows are told: fused tokens [1, K, C] for the structure, [1, L, C] a view for the detail."""

    structure: Tensor
    detail: tuple[Tensor, ...]


class _Run:
    """One object on its way; every method is a stage that loads its networks and lets go of them."""

    def __init__(self, networks: Networks, config: GenerationConfig, monitor: Monitor, device: str) -> None:
        self.networks = networks
        self.config = config
        self.monitor = monitor
        self.device = device
        self.stage = "begin"
        # On the CPU whatever the device: so the noise is the same everywhere, and the published one.
        self.random = torch.Generator("cpu").manual_seed(config.seed)
        self.scale: LatentScale = networks.latent_scale
        self.seconds: dict[str, float] = {}
        self.loading: dict[str, float] = {}
        self.memory: dict[str, float] = {}
        self.precision: dict[str, str] = {}
        self.warnings: list[str] = []
        self.keys: dict[str, dict[str, list[str]]] = {}

    def whole(self, pictures: Sequence[Array]) -> Generated:
        conditions = self._conditions(pictures)
        coords = self._structure(conditions.structure)
        latent = self._detail(coords, conditions.detail)
        del conditions
        mesh, colours = self._surface(latent)
        gaussians = self._gaussians(latent) if self.config.gaussians else None
        self.monitor.report(100.0, "The object is made")
        report: dict[str, object] = {
            "seed": self.config.seed,
            "views": len(pictures),
            "structure_sampler": _said(self.config.structure),
            "detail_sampler": _said(self.config.detail),
            "voxels": len(coords),
            "vertices": len(mesh.vertices),
            "faces": len(mesh.faces),
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "loading_seconds": {name: round(value, 3) for name, value in self.loading.items()},
            "precision": self.precision,
        }
        if self.memory:
            report["peak_memory_gb"] = {name: round(value, 3) for name, value in self.memory.items()}
        if self.keys:
            report["keys"] = self.keys
        return Generated(mesh=mesh, colours=colours, gaussians=gaussians, report=report, warnings=tuple(self.warnings))

    def free(self) -> None:
        """Gives back what nothing holds any more."""
        if self.device != "cpu":
            cleanup_gpu_memory()

    # --- the stages, in order ----------------------------------------------------------------------------------------

    def _conditions(self, pictures: Sequence[Array]) -> _Conditions:
        images, tokens = self._picture_tokens(pictures)
        geometry = self._geometry_tokens(images)
        stage = self._begin("conditions")
        structure = self._fused(geometry, tokens)
        stage.report(70.0, "Fusing what the pictures show")
        return _Conditions(structure=structure, detail=self._by_view(geometry, tokens))

    def _fused(self, geometry: Mapping[int, Tensor], tokens: Tensor) -> Tensor:
        with self._using("sparse_structure_vggt_cond") as network, self._timed("sparse_structure_vggt_cond"):
            return cast(Tensor, network(geometry, tokens[:, :, SPECIAL_TOKENS:]))

    def _by_view(self, geometry: Mapping[int, Tensor], tokens: Tensor) -> tuple[Tensor, ...]:
        def condition(network: Any, at_once: int) -> Tensor:
            return torch.cat(
                [
                    network({k: v[:, i : i + at_once] for k, v in geometry.items()}, tokens[:, i : i + at_once])
                    for i in range(0, tokens.shape[1], at_once)
                ]
            )

        with self._using("slat_vggt_cond") as network, self._timed("slat_vggt_cond"):
            return torch.split(self._in_portions(partial(condition, network)), 1)

    def _picture_tokens(self, pictures: Sequence[Array]) -> tuple[Tensor, Tensor]:
        """Cropped pictures, float32 [N, 3, side, side] in 0..1, and tokens of each by itself, float32 [1, N, L, C]."""
        stage = self._begin("dinov2")
        with self._using("dinov2") as network:
            # Of the size that the network was trained on: 518 of the published one.
            side = network.side * network.patch_size
            with self._timed("pictures"):
                images = stacked([self._prepared(picture, side) for picture in pictures], self.device)

            def tokens(at_once: int) -> Tensor:
                found = []
                for part in torch.split(images, at_once):
                    stage.check()
                    found.append(network.image_condition(part))
                    stage.report(100.0 * len(found) * at_once / len(images), "Looking at each picture")
                return torch.cat(found)

            with self._timed("dinov2"):
                return images, self._in_portions(tokens)[None]

    def _prepared(self, picture: Array, side: int) -> Array:
        self.monitor.check()
        return prepared(picture, side=side)

    def _geometry_tokens(self, images: Tensor) -> dict[int, Tensor]:
        """The four layers that are read, float32 [1, N, L, 2 C] each; the others are never kept."""
        stage = self._begin("vggt")
        with self._using("vggt") as network, self._timed("vggt"):

            def between(index: int) -> None:
                stage.check()
                stage.report(100.0 * index / network.depth, "Looking at the pictures together")

            return self._in_portions(
                lambda at_once: network(images[None], GEOMETRY_LAYERS, views_at_once=at_once, between=between)
            )

    def _structure(self, condition: Tensor) -> Tensor:
        """Voxels that the object fills, int32 [M, 4] of batch element 0, x, y, z."""
        stage = self._begin("structure")
        z = self._structure_latent(condition, stage)
        with self._using("sparse_structure_decoder") as network, self._timed("sparse_structure_decoder"):
            coords = occupied(network(z))
        filled = len(coords)
        if not filled or filled > self.config.largest_voxels:
            found = "nothing" if not filled else f"{filled:,} voxels, which is no object"
            raise InputError(
                f"In the pictures the large networks see {found}.",
                hint="Try another seed, check the masks of the views, or use --model hull.",
                voxels=filled,
            )
        return coords

    def _structure_latent(self, condition: Tensor, stage: Monitor) -> Tensor:
        with self._using("sparse_structure_flow_model") as network, self._timed("sparse_structure_flow_model"):
            shape = (1, network.in_channels, *[network.resolution] * 3)
            noise = torch.randn(shape, generator=self.random).to(self.device)
            return self._sampled(network, noise, condition, no_condition(condition), self.config.structure, stage)

    def _detail(self, coords: Tensor, conditions: tuple[Tensor, ...]) -> SparseTensor:
        """The latent on the voxels, float32 [M, 8]."""
        stage = self._begin("detail")
        with self._using("slat_flow_model") as network, self._timed("slat_flow_model"):
            noise = torch.randn((len(coords), network.in_channels), generator=self.random).to(self.device)
            start = SparseTensor(noise, coords, spans=((0, len(coords)),))
            latent = self._sampled(network, start, conditions, no_condition(conditions[0]), self.config.detail, stage)
        return _alone(denormalised(latent, self.scale.mean, self.scale.std))

    def _surface(self, latent: SparseTensor) -> tuple[Mesh, Array]:
        stage = self._begin("surface")
        coords, feats, resolution = self._cubes(latent)
        stage.check()
        stage.report(50.0, "Making its surface")
        with self._timed("extraction"):
            surface = extract(coords, feats, resolution)
            vertices, faces = surface.vertices.cpu().numpy(), surface.faces.to(torch.int32).cpu().numpy()
            colours = (surface.colors.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        if not len(faces) or not np.isfinite(vertices).all():
            raise InputError(
                "In the pictures the large networks see no surface.",
                hint="Try another seed, check the masks of the views, or use --model hull.",
            )
        return Mesh(vertices=vertices.astype(np.float32, copy=False), faces=faces), colours

    def _cubes(self, latent: SparseTensor) -> tuple[Tensor, Tensor, int]:
        """Cubes around the surface, int32 [K, 3], what is said of each [K, 101], and cubes along an edge of the grid.

        Without the tables of neighbours that the decoder kept beside them.
        """
        with self._using("slat_decoder_mesh") as network, self._timed("slat_decoder_mesh"):
            cubes = network(_alone(latent))
            return cubes.coords[:, 1:], cubes.feats, network.cube_resolution

    def _gaussians(self, latent: SparseTensor) -> Gaussians:
        self.monitor.check()
        with self._using("slat_decoder_gs") as network, self._timed("slat_decoder_gs"):
            return cast(Gaussians, network.gaussians(network(_alone(latent)))[0])

    # --- what they share ---------------------------------------------------------------------------------------------

    def _sampled(self, flow: Any, noise: Any, cond: Any, without: Tensor, config: SamplerConfig, stage: Monitor) -> Any:
        title = _PLAN.span(self.stage).stage.title

        def done(steps: int) -> None:
            stage.report(100.0 * steps / config.steps, title)

        velocity = guided_velocity(flow, cond, without, config)
        return sample(velocity, noise, config, monitor=stage, report=done)

    def _begin(self, name: str) -> Monitor:
        self.stage = name
        stage = _PLAN.monitor(name, self.monitor)
        stage.check()
        stage.report(0.0, _PLAN.span(name).stage.title)
        return stage

    def _in_portions(self, call: Callable[[int], Found]) -> Found:
        """`call` with so many views at once as memory allows."""
        at_once = self.config.views_at_once
        while True:
            try:
                return call(at_once)
            except torch.cuda.OutOfMemoryError:
                if at_once == 1:
                    raise
            # Outside of the handler: what failed holds its tensors as long as it is being handled.
            at_once //= 2
            self.free()

    @contextmanager
    def _using(self, name: str) -> Iterator[Any]:
        """A network on the device, for as long as the block lasts; callers hold it no longer."""
        self.monitor.check()
        self.free()
        begun = time.perf_counter()
        loaded = self.networks.load(name)
        self.precision[name] = put(loaded.network, name, self.device)
        self._synchronise()
        self.loading[name] = time.perf_counter() - begun
        if loaded.missing or loaded.extra:
            self.keys[name] = {"missing": list(loaded.missing), "extra": list(loaded.extra)}
        if loaded.missing:
            shown = ", ".join(loaded.missing[:3]) + (" and others" if len(loaded.missing) > 3 else "")
            self.warnings.append(
                f"{loaded.file} lacks {len(loaded.missing)} tensors of its network ({shown}); neutral values stand for "
                "them."
            )
        yield loaded.network

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        """Seconds and, on a GPU, the most memory that was taken; the device is waited for once, at the end."""
        if self.device != "cpu":
            torch.cuda.reset_peak_memory_stats(self.device)
        begun = time.perf_counter()
        yield
        self._synchronise()
        self.seconds[name] = time.perf_counter() - begun
        if self.device != "cpu":
            self.memory[name] = torch.cuda.max_memory_allocated(self.device) / GIB

    def _synchronise(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize(self.device)


def _alone(x: SparseTensor) -> SparseTensor:
    """The same without what was worked out from its coordinates: tables for fine grids are large."""
    return SparseTensor(x.feats, x.coords, spans=x.spans)


def _said(config: SamplerConfig) -> dict[str, object]:
    """A sampler's settings as JSON takes them."""
    return {name: list(v) if isinstance(v, tuple) else v for name, v in vars(config).items()}
