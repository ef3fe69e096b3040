"""What schemathesis cannot know: pictures that are pictures. Loaded by it, not by pytest."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.transport.serialization import Binary

from meshwright.types import VIEW_NAMES
from service_api import png

PICTURES = [png(shade=shade) for shade in (0, 60, 120)]


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for view in VIEW_NAMES:
            target.writestr(f"views/{view}.png", PICTURES[0])
    return buffer.getvalue()


schemathesis.openapi.format("png", st.sampled_from(PICTURES).map(Binary))
schemathesis.openapi.format("zip", st.just(archive()).map(Binary))
# A name that nobody knows: it is accepted, and never reached.
schemathesis.openapi.format("uri", st.just("https://hooks.example/meshwright"))


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Names the kinds of file in a way that strategies can be hung on; nothing else changes."""
    del context
    form = raw_schema["paths"]["/api/jobs"]["post"]["requestBody"]["content"]["multipart/form-data"]
    del form["encoding"]
    for choice in form["schema"]["oneOf"]:
        fields = choice["properties"]
        for name in ("views", "depth_renders"):
            if name in fields:
                fields[name]["items"] = {"type": "string", "format": "png"}
        if "archive" in fields:
            fields["archive"] = {"type": "string", "format": "zip"}
