"""The OpenAPI document: what FastAPI finds out by itself, and every refusal, example and link that it cannot know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

import meshwright
from meshwright.service.api.problems import JOB_ERRORS, PROBLEM_TYPE, PROBLEMS
from meshwright.service.api.schemas import ProblemBody

__all__ = ["JOB_LINKS", "install", "refusals", "retry_after"]

_DESCRIPTION = """\
Six views of an object become a textured triangle mesh that was checked against them.

Submit with `POST /api/jobs`, follow with `GET /api/jobs/{job_id}` or its `/events`, download with `/download`.

Every refusal is `application/problem+json` (RFC 9457) with the further members `error`, `code`, `fields` and
`suggestion`. Programs go by `code`.
"""

_ALWAYS = ("UNKNOWN_ERROR", "NOT_READY")
_EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "VALIDATION_FAILED": {
        "detail": "1 part(s) of the request are not valid.",
        "fields": {"model_type": "Expected reconviagen, nvdiffrec or both, got 'magic'"},
    },
    "INVALID_FILE_COUNT": {
        "detail": "Six views and six depth renders are needed.",
        "fields": {"views": "Expected 6 files, got 5"},
    },
    "INVALID_FILE_FORMAT": {
        "detail": "1 file is not a usable PNG.",
        "fields": {"views": "front.png: not a PNG: the content is a JPEG"},
    },
    "FILE_TOO_LARGE": {
        "detail": "The file 'front.png' is larger than the 20 MB that are accepted.",
        "fields": {"views": "front.png: expected at most 20 MB"},
    },
    "JOB_NOT_FOUND": {"detail": "There is no job 'k3v9x0qa'."},
    "JOB_NOT_READY": {"detail": "The job is processing (42 %)."},
    "UNAUTHORIZED": {"detail": "This service needs an API key."},
    "RATE_LIMITED": {"detail": "More than 60 calls of this kind in 60 s."},
}


def refusals(*codes: str | tuple[str, int], keyed: bool = True) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route: each code at its status, with an example; those that any route can give are added.

    Args:
        codes: Codes, or (code, status) where the status is not the code's usual one.
        keyed: Whether the route asks for a key and counts calls.
    """
    wanted: list[tuple[str, int]] = []
    always = [*_ALWAYS]
    if keyed:
        always = ["UNAUTHORIZED", "RATE_LIMITED", *always]
        wanted.append(("UNAUTHORIZED", 403))
    for item in (*codes, *always):
        wanted.append(item if isinstance(item, tuple) else (item, PROBLEMS[item].status))
    found: dict[int | str, dict[str, Any]] = {}
    for code, status in sorted(wanted, key=lambda item: item[1]):
        entry = found.setdefault(
            status,
            {
                "description": "",
                "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}, "examples": {}}},
            },
        )
        entry["content"][PROBLEM_TYPE]["examples"][code] = {
            "summary": PROBLEMS[code].title,
            "value": _example(code, status),
        }
        titles = [*filter(None, [entry["description"]]), f"{PROBLEMS[code].title} (`{code}`)"]
        entry["description"] = "; ".join(dict.fromkeys(titles))
        if code in ("RATE_LIMITED", "NOT_READY"):
            entry["headers"] = retry_after()
        if code == "UNAUTHORIZED" and status == 401:
            entry["headers"] = {
                "WWW-Authenticate": {"description": "How to authenticate.", "schema": {"type": "string"}}
            }
    return found


def retry_after() -> dict[str, Any]:
    """The documented header `Retry-After`."""
    return {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string", "pattern": "^[0-9]+$"}}}


def _example(code: str, status: int) -> dict[str, Any]:
    kind = PROBLEMS[code]
    return {
        "type": f"/docs#{code}",
        "title": kind.title,
        "status": status,
        "detail": kind.title + ".",
        "error": kind.error,
        "code": code,
        "fields": {},
        "suggestion": kind.suggestion,
        **_EXAMPLES.get(code, {}),
    }


def _link(operation: str, description: str, **parameters: str) -> dict[str, Any]:
    return {"operationId": operation, "parameters": parameters, "description": description}


_ID = "$response.body#/job_id"
JOB_LINKS: dict[str, Any] = {
    "state": _link("get_job", "Where the job stands.", job_id=_ID),
    "events": _link("follow_job", "Its changes as they come.", job_id=_ID),
    "files": _link("list_files", "Its outputs.", job_id=_ID),
    "download": _link("download_job", "All outputs as one ZIP.", job_id=_ID),
    "askToCancel": {
        "operationId": "cancel_job",
        "parameters": {"job_id": _ID},
        "requestBody": {"confirm": False},
        "description": "The first of two steps of cancellation.",
    },
    "cancel": {
        "operationId": "cancel_job",
        "parameters": {"job_id": _ID},
        "requestBody": {"confirm": True},
        "description": "The second step.",
    },
}
"""What can follow an answer that names a job."""


def install(app: FastAPI, *, keys_required: bool = True) -> None:
    """Makes `app.openapi()` answer the whole document.

    Args:
        keys_required: Whether calls need a key; else the document says that they may go without.
    """

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(
                title="meshwright",
                version=meshwright.__version__,
                summary="Six views to a textured mesh",
                description=_DESCRIPTION,
                license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
                routes=app.routes,
                tags=[
                    {"name": "jobs", "description": "Submit, follow and cancel jobs."},
                    {"name": "results", "description": "What a completed job has made."},
                    {"name": "service", "description": "How the service itself is doing."},
                ],
            )
            schemas = found.setdefault("components", {}).setdefault("schemas", {})
            schemas["ProblemBody"] = ProblemBody.model_json_schema()
            schemas["ProblemBody"]["properties"]["code"]["enum"] = sorted(PROBLEMS)
            schemas["JobFault"]["properties"]["code"]["enum"] = sorted(JOB_ERRORS)
            if not keys_required:
                for operation in (item for path in found["paths"].values() for item in path.values()):
                    if "security" in operation:
                        operation["security"].insert(0, {})
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
