"""Surfaces as differentiable functions of values on a grid: tetrahedra (DMTet) or cubes (FlexiCubes).

    field = TetraField.near((-1, -1, -1), (1, 1, 1), 128, lambda points: 0.5 - points.norm(dim=1))
    surface = field.surface()

Signed distance is positive inside. Faces are counter-clockwise from outside. One source for CPU and CUDA.
"""

from __future__ import annotations

from meshwright.geometry.tetra.carry import Carry
from meshwright.geometry.tetra.cubes import CubeLattice, cube_lattice
from meshwright.geometry.tetra.domain import Domain
from meshwright.geometry.tetra.fields import CubeField, ShapeField, TetraField, volume_distance
from meshwright.geometry.tetra.flexible import WEIGHTS, march_cubes_dual
from meshwright.geometry.tetra.lattice import TetraLattice, tetra_lattice
from meshwright.geometry.tetra.marching import march_tetrahedra
from meshwright.geometry.tetra.regularise import laplacian, normal_consistency, sign_changes, unevenness
from meshwright.geometry.tetra.surface import Capacity, Surface

__all__ = [
    "WEIGHTS",
    "Capacity",
    "Carry",
    "CubeField",
    "CubeLattice",
    "Domain",
    "ShapeField",
    "Surface",
    "TetraField",
    "TetraLattice",
    "cube_lattice",
    "laplacian",
    "march_cubes_dual",
    "march_tetrahedra",
    "normal_consistency",
    "sign_changes",
    "tetra_lattice",
    "unevenness",
    "volume_distance",
]
