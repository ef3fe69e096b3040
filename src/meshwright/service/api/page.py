"""The page for people at `/`: files that were built from `web/` and lie in the package."""

from __future__ import annotations

import gzip
import hashlib
from importlib import resources
from importlib.resources.abc import Traversable

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response

from meshwright.service.api.problems import Problem
from meshwright.service.api.ranges import is_known_to_client

__all__ = ["PAGE_POLICY", "add_page"]

PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        # blob: what the page itself has made or opened: thumbnails of chosen files, textures of a mesh.
        "img-src 'self' blob:",
        "connect-src 'self' blob:",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
"""Nothing inline, nothing from elsewhere, no text that becomes markup."""

_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}

_SMALL = 400
"""Bytes that are not worth packing."""


class _File:
    """One file of the page, as it is sent."""

    def __init__(self, entry: Traversable) -> None:
        self.data = entry.read_bytes()
        self.etag = f'"{hashlib.sha256(self.data).hexdigest()[:32]}"'
        self.media_type = _TYPES[entry.name.rpartition(".")[2]]
        self.packed = gzip.compress(self.data, mtime=0) if len(self.data) > _SMALL else self.data


def _read(folder: Traversable, prefix: str = "") -> dict[str, _File]:
    found: dict[str, _File] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            found |= _read(entry, f"{prefix}{entry.name}/")
        elif entry.name.rpartition(".")[2] in _TYPES:
            found[prefix + entry.name] = _File(entry)
    return found


def add_page(app: FastAPI) -> None:
    """Routes of the page; only files that are there when the process starts can be asked for."""
    files = _read(resources.files("meshwright.service").joinpath("web"))

    def answer(request: Request, name: str) -> Response:
        file = files.get(name)
        if file is None:
            raise Problem("NOT_FOUND", "The page has no such file.")
        headers = {
            "ETag": file.etag,
            # Names of assets hold a hash of their content.
            "Cache-Control": "public, max-age=31536000, immutable" if name.startswith("assets/") else "no-cache",
        }
        if name.endswith(".html"):
            headers["Content-Security-Policy"] = PAGE_POLICY
        if is_known_to_client(request.headers, file.etag):
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", "") and len(file.data) > _SMALL:
            headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
            return Response(file.packed, headers=headers, media_type=file.media_type)
        return Response(file.data, headers=headers, media_type=file.media_type)

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def root(request: Request) -> Response:
        # Addresses on the page are relative, so it must be asked for as a folder.
        return (
            answer(request, "index.html") if "index.html" in files else RedirectResponse(f"{app.root_path}/docs", 307)
        )

    @app.api_route("/assets/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    async def asset(request: Request, name: str) -> Response:
        return answer(request, f"assets/{name}")

    @app.api_route("/favicon.svg", methods=["GET", "HEAD"], include_in_schema=False)
    async def icon(request: Request) -> Response:
        return answer(request, "favicon.svg")

    @app.api_route("/licences.txt", methods=["GET", "HEAD"], include_in_schema=False)
    async def licences(request: Request) -> Response:
        return answer(request, "licences.txt")
