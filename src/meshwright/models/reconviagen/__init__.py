"""The whole object, unseen sides included, from learned networks; `mini` comes with meshwright (docs/prior.md)."""

from meshwright.models.reconviagen.model import ReconviagenModel

__all__ = ["ReconviagenModel"]
