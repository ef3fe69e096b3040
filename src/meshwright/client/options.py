"""What both clients make of their arguments."""

from __future__ import annotations

from pathlib import Path

import httpx

import meshwright
from meshwright.client.uploads import Upload, find_upload
from meshwright.errors import OptionError
from meshwright.types import Lighting, ModelType, Quality

__all__ = ["checked_url", "default_headers", "listening", "submission"]


def checked_url(base_url: str) -> httpx.URL:
    """An address that can be called.

    Raises:
        OptionError: it is none.
    """
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError):
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise OptionError(f"{base_url!r} is no address of a service.", hint="Write it as http://127.0.0.1:8000.")
    return url


def default_headers(api_key: str | None) -> dict[str, str]:
    """What goes with every request."""
    headers = {"User-Agent": f"meshwright/{meshwright.__version__}"}
    if api_key:
        if not (api_key.isascii() and api_key.isprintable()):
            raise OptionError("The API key holds characters that no key has.", hint="Copy it again, without spaces.")
        headers["Authorization"] = f"Bearer {api_key}"
    return headers


def listening(timeout: httpx.Timeout, idle_s: float) -> httpx.Timeout:
    """The client's own time limits, but for how long an answer may be silent."""
    return httpx.Timeout(connect=timeout.connect, write=timeout.write, pool=timeout.pool, read=idle_s)


def submission(
    source: str | Path,
    depth_dir: str | Path | None,
    model: ModelType | str,
    quality: Quality | str | None,
    lighting: Lighting | str | None,
    webhook_url: str | None,
    webhook_secret: str | None,
) -> tuple[Upload, dict[str, str]]:
    """Files and form fields of `POST /api/jobs`; the arguments are those of `Client.submit`."""
    form = {
        "model_type": _value(ModelType, model, "model"),
        "quality": None if quality is None else _value(Quality, quality, "quality"),
        "lighting": None if lighting is None else _value(Lighting, lighting, "lighting"),
        "webhook_url": webhook_url,
        "webhook_secret": webhook_secret,
    }
    upload = find_upload(Path(source), None if depth_dir is None else Path(depth_dir))
    return upload, {name: value for name, value in form.items() if value is not None}


def _value(kind: type[ModelType] | type[Quality] | type[Lighting], value: str, name: str) -> str:
    try:
        return kind(value).value
    except ValueError:
        known = ", ".join(member.value for member in kind)
        raise OptionError(f"{name}={value!r} is not known.", hint=f"Use one of {known}.") from None
