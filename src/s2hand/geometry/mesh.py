"""Triangle meshes: normals, edges and the uniform Laplacian."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def vertex_normals(
    vertices: Float[Tensor, "n v 3"], faces: Int[Tensor, "f 3"]
) -> Float[Tensor, "n v 3"]:
    """Unit normals, area-weighted over the faces of each vertex; zero where a vertex has none."""
    # Vertices first in memory: whole rows are gathered and added, which is twice as fast.
    rows = vertices.transpose(0, 1).contiguous()  # [v, n, 3]
    a, b, c = (rows.index_select(0, faces[:, corner]) for corner in range(3))
    face_normals = torch.linalg.cross(b - a, c - a)
    normals = torch.zeros_like(rows)
    for corner in range(3):
        normals = normals.index_add(0, faces[:, corner], face_normals)
    normals = normals.transpose(0, 1)
    # A clamp, not an epsilon inside the root: face areas of a hand are about 1e-6 m^2.
    return normals / normals.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def unique_edges(faces: np.ndarray) -> np.ndarray:
    """[f, 3] faces to [e, 2] undirected edges, smaller index first, sorted."""
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return np.unique(np.sort(pairs, axis=1), axis=0)


def uniform_laplacian(faces: np.ndarray, num_vertices: int) -> Tensor:
    """Sparse [v, v] matrix L = D^-1 A - I: (L x)_i = mean of the neighbours of i minus x_i."""
    edges = unique_edges(faces)
    rows = np.concatenate([edges[:, 0], edges[:, 1]])
    columns = np.concatenate([edges[:, 1], edges[:, 0]])
    degree = np.bincount(rows, minlength=num_vertices)
    values = 1.0 / degree[rows]
    diagonal = np.arange(num_vertices)
    indices = np.stack([np.concatenate([rows, diagonal]), np.concatenate([columns, diagonal])])
    data = np.concatenate([values, -np.ones(num_vertices)])
    matrix = torch.sparse_coo_tensor(
        torch.from_numpy(indices),
        torch.from_numpy(data).float(),
        (num_vertices, num_vertices),
        check_invariants=True,  # torch warns if this is not set
    )
    return matrix.coalesce()
