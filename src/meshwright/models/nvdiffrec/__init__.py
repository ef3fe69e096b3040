"""Shape, cameras and texture by optimisation through our differentiable rasteriser."""

from meshwright.models.nvdiffrec.model import NvdiffrecModel

__all__ = ["NvdiffrecModel"]
