"""Traces for OpenTelemetry, where an address for them is set and the packages are installed."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI

from meshwright.errors import OptionError
from meshwright.service.settings import Settings

__all__ = ["instrument"]


def instrument(app: FastAPI, settings: Settings) -> Callable[[], None]:
    """Sends a trace of every call to `settings.otel_endpoint`; does nothing where that is empty.

    Returns:
        To be called at the end: sends what has not been sent yet.
    Raises:
        OptionError: The packages are missing.
    """
    if not settings.otel_endpoint:
        return lambda: None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # type: ignore[import-not-found]
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # type: ignore[import-not-found]
        from opentelemetry.sdk.resources import Resource  # type: ignore[import-not-found]
        from opentelemetry.sdk.trace import TracerProvider  # type: ignore[import-not-found]
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # type: ignore[import-not-found]
    except ImportError as error:
        raise OptionError(
            "MESHWRIGHT_OTEL_ENDPOINT is set, but OpenTelemetry is not installed.",
            hint="pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http "
            "opentelemetry-instrumentation-fastapi",
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": "meshwright"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.otel_endpoint, timeout=5)))
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, excluded_urls="health/.*,metrics")
    return provider.shutdown
