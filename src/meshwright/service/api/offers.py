"""What can be asked for and what each choice costs, so that pages and programs need to know none of it."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from fastapi import APIRouter

import meshwright
from meshwright.config import PRESETS
from meshwright.inputs.config import InputConfig
from meshwright.models import AVAILABLE_MODELS
from meshwright.service.api.auth import Reader
from meshwright.service.api.jobs import ServicesHere
from meshwright.service.api.openapi import refusals
from meshwright.service.api.readiness import readiness
from meshwright.service.api.schemas import ModelOffer, Offer, QualityOffer, UploadLimits
from meshwright.service.run import models_of
from meshwright.types import ModelType, Quality

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["service"])


@dataclass(frozen=True, kw_only=True)
class _Words:
    title: str
    summary: str


_WORDS = MappingProxyType(
    {
        ModelType.RECONVIAGEN: _Words(
            title="ReconViaGen",
            summary="Carves outlines and depth; trained networks propose what they leave open.",
        ),
        ModelType.NVDIFFREC: _Words(
            title="nvdiffrec",
            summary="Bends shape and cameras until renders look like your pictures.",
        ),
        ModelType.BOTH: _Words(
            title="Both, side by side",
            summary="Runs one after the other; both results, to be compared.",
        ),
    }
)


_EXAMPLE = {
    "version": meshwright.__version__,
    "models": [
        {
            "name": "reconviagen",
            "title": "ReconViaGen",
            "summary": _WORDS[ModelType.RECONVIAGEN].summary,
            "runs": ["reconviagen"],
            "ready": True,
            "message": "",
            "vram_gb": 0,
            "relative_time": 1,
            "seconds": {"standard": 41.2},
        }
    ],
    "qualities": [{"name": "standard", "grid": 256, "texture_size": 2048, "preview_size": 768}],
    "default_model": "reconviagen",
    "default_quality": "standard",
    "limits": {"max_file_bytes": 20_971_520, "max_total_bytes": 209_715_200, "max_pixels": 16_777_216},
    "device": "NVIDIA H200",
    "retention_s": None,
}


@router.get(
    "/options",
    operation_id="get_options",
    summary="What can be asked for",
    response_model=Offer,
    responses={
        200: {
            "description": "Models, qualities, limits, and what they cost.",
            "content": {"application/json": {"example": _EXAMPLE}},
        },
        **refusals(),
    },
)
async def get_options(caller: Reader, services: ServicesHere) -> Offer:
    """Models and whether what they need is installed, quality levels, limits of uploads, and measured times."""
    del caller  # anybody who may read
    settings = services.settings
    seconds = await services.run(services.jobs.seconds)
    workers = services.alive()
    quickest = min(_weight(model) for model in ModelType)
    default = settings.quality.value
    return Offer(
        version=meshwright.__version__,
        models=[
            ModelOffer(
                name=model.value,
                title=_WORDS[model].title,
                summary=_WORDS[model].summary,
                runs=list(models_of(model)),
                ready=ready,
                message=message,
                vram_gb=max(AVAILABLE_MODELS[name].required_vram_gb for name in models_of(model)),
                relative_time=round(_weight(model) / quickest, 2),
                seconds={
                    quality or default: round(value, 1)
                    # Jobs that named no quality got the default; what was asked for by name says it better.
                    for (name, quality), value in sorted(seconds.items())
                    if name == model.value
                },
            )
            for model in ModelType
            for ready, message in (readiness(model, workers),)
        ],
        qualities=[
            QualityOffer(
                name=quality.value,
                grid=preset.grid,
                texture_size=preset.texture_size,
                preview_size=preset.preview_size,
            )
            for quality, preset in PRESETS.items()
        ],
        default_model=ModelType.RECONVIAGEN.value,
        default_quality=Quality(default).value,
        limits=UploadLimits(
            max_file_bytes=settings.max_file_bytes,
            max_total_bytes=settings.max_total_bytes,
            max_pixels=InputConfig().max_pixels,
        ),
        device=str((workers[0].about.get("device") or {}).get("name", "")) if workers else "",
        retention_s=settings.retention_s,
    )


def _weight(model: ModelType) -> float:
    """How long it takes: `share` is a model's own part beside the 100 of all other stages."""
    total = 0.0
    for name in models_of(model):
        kind = AVAILABLE_MODELS[name]
        first = AVAILABLE_MODELS[kind.starts_from].start_share if kind.starts_from else 0.0
        total += 100 + kind.share + first
    return total
