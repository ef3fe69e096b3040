"""The HTTP API of the service."""

from meshwright.service.api.app import create_app

__all__ = ["create_app"]
