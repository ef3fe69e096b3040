"""What a submission asks for in its text fields, and what it may ask for."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshwright.service.api.addresses import AddressError, check_url, checked_address
from meshwright.service.api.forms import shown
from meshwright.service.api.problems import Problem
from meshwright.service.jobs import Webhook
from meshwright.types import Lighting, ModelType, Quality

__all__ = ["LIT_WISHES", "WISHES", "Wish", "read_wish"]

_SECRET = re.compile(r"whsec_(?:[A-Za-z0-9+/]{4}){8,21}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")

WISHES: dict[str, Any] = {
    "model_type": {
        "type": "string",
        "enum": [model.value for model in ModelType],
        "default": ModelType.RECONVIAGEN.value,
        "description": "Which model; `both` runs reconviagen, then nvdiffrec.",
    },
    "quality": {
        "type": "string",
        "enum": [quality.value for quality in Quality],
        "description": "How much time to spend; the service's own choice where it is left out.",
    },
    "lighting": {
        "type": "string",
        "enum": [Lighting.BAKED.value],
        "default": Lighting.BAKED.value,
        "description": "The light stays in the colours.",
    },
    "webhook_url": {
        "type": "string",
        "format": "uri",
        "maxLength": 2000,
        "description": "https address that is told when the job ends (Standard Webhooks).",
    },
    "webhook_secret": {
        "type": "string",
        "pattern": f"^{_SECRET.pattern}$",
        "description": "What webhooks are signed with: `whsec_` and 24 bytes or more in base64. Made by the service, "
        "and told in the answer, where it is left out.",
    },
}
"""JSON Schema of each field."""
LIT_WISHES: dict[str, Any] = {
    **WISHES,
    "model_type": {
        "type": "string",
        "enum": [ModelType.NVDIFFREC.value, ModelType.BOTH.value],
        "description": "Which model; `both` runs reconviagen, which leaves the light in its colours, then nvdiffrec.",
    },
    "lighting": {
        "type": "string",
        "enum": [Lighting.PBR.value],
        "description": "`nvdiffrec` tells base colour, roughness, metalness, normals and light apart.",
    },
}
"""The same where materials and light are told apart."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the text fields of a submission say."""

    model_type: ModelType
    options: Mapping[str, Any]
    webhook: Webhook | None
    made_secret: str | None


def read_wish(texts: Mapping[str, str], *, allow_private: bool) -> Wish:
    """The text fields, all faults at once. Asks the name service for a webhook's host, so it belongs into a thread."""
    faults: dict[str, str] = {}
    model = texts.get("model_type", ModelType.RECONVIAGEN.value)
    if model not in list(ModelType):
        faults["model_type"] = f"Expected {_either(ModelType)}, got {shown(model)!r}"
    quality = texts.get("quality")
    if quality is not None and quality not in list(Quality):
        faults["quality"] = f"Expected {_either(Quality)}, got {shown(quality)!r}"
    lighting = texts.get("lighting")
    if lighting is not None and lighting not in list(Lighting):
        faults["lighting"] = f"Expected {_either(Lighting)}, got {shown(lighting)!r}"
    if lighting == Lighting.PBR and model == ModelType.RECONVIAGEN:
        faults["lighting"] = "Only nvdiffrec tells materials from light: ask for model_type nvdiffrec, or both"
    url, secret = texts.get("webhook_url"), texts.get("webhook_secret")
    if url is not None:
        try:
            _judge_url(url, allow_private=allow_private)
        except AddressError as error:
            faults["webhook_url"] = str(error).capitalize()
    if secret is not None:
        if url is None:
            faults["webhook_secret"] = "Given without webhook_url"
        elif not _SECRET.fullmatch(secret):
            faults["webhook_secret"] = "Expected whsec_ and 24 to 65 bytes in base64"
    if faults:
        raise Problem("VALIDATION_FAILED", f"{len(faults)} part(s) of the form are not valid.", fields=faults)
    made = None
    if url is not None and secret is None:
        made = secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    return Wish(
        model_type=ModelType(model),
        options={name: value for name, value in (("quality", quality), ("lighting", lighting)) if value is not None},
        webhook=None if url is None or secret is None else Webhook(url=url, secret=secret),
        made_secret=made,
    )


def _either(kind: type[ModelType] | type[Quality] | type[Lighting]) -> str:
    *names, last = [item.value for item in kind]
    return f"{', '.join(names)} or {last}"


def _judge_url(url: str, *, allow_private: bool) -> None:
    """Refuses what can be known now; the sender asks again each time, since names can change where they lead."""
    check_url(url, allow_private=allow_private)
    try:
        checked_address(url, allow_private=allow_private)
    except AddressError as error:
        if "not known" not in str(error):  # a name service that is away for a moment must not refuse a job
            raise
