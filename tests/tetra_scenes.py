"""Shapes and checks that the tests of the extractors share."""

from __future__ import annotations

import numpy as np
import torch

from meshwright.types import Mesh


def sphere(points: torch.Tensor, radius: float = 0.7) -> torch.Tensor:
    """Signed distance, positive inside, off the grid's symmetry."""
    return radius - (points - points.new_tensor([0.03, -0.02, 0.05])).norm(dim=1)


def torus(points: torch.Tensor) -> torch.Tensor:
    p = points - points.new_tensor([0.02, 0.01, -0.03])
    return 0.22 - torch.stack([p[:, :2].norm(dim=1) - 0.5, p[:, 2]], 1).norm(dim=1)


def noise(count: int, seed: int, device: str = "cpu") -> torch.Tensor:
    """Values without any sense: every case of every table, all ambiguous ones included."""
    return torch.randn(count, generator=torch.Generator().manual_seed(seed)).to(device)


def edge_uses(mesh: Mesh) -> np.ndarray:
    """How often each undirected edge is used, and raises if one direction is used twice."""
    f = mesh.faces
    directed = np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]])
    assert len(np.unique(directed, axis=0)) == len(directed), "two faces run along an edge the same way"
    return np.unique(np.sort(directed, 1), axis=0, return_counts=True)[1]


def is_closed(mesh: Mesh) -> bool:
    """Every edge has two faces, which run along it in opposite directions."""
    return len(mesh.faces) > 0 and bool((edge_uses(mesh) == 2).all())


def euler(mesh: Mesh) -> int:
    return len(np.unique(mesh.faces)) - len(edge_uses(mesh)) + len(mesh.faces)


def volume(mesh: Mesh) -> float:
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces].astype(np.float64), 1, 0)
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def area(mesh: Mesh) -> float:
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces].astype(np.float64), 1, 0)
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def canonical(faces: np.ndarray) -> list[tuple[int, ...]]:
    """Triangles turned so that the least corner comes first; sorted."""
    return sorted(tuple(np.roll(face, -int(np.argmin(face))).tolist()) for face in faces)
