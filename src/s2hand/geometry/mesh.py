"""Triangle meshes: normals, the uniform Laplacian, boundary and smooth subdivision."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def vertex_normals(
    vertices: Float[Tensor, "n v 3"], faces: Int[Tensor, "f 3"]
) -> Float[Tensor, "n v 3"]:
    """Unit normals, area-weighted over the faces of each vertex; zero where a vertex has none."""
    # Vertices first: whole rows are gathered and added, which is twice as fast.
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


def boundary_edges(faces: np.ndarray) -> np.ndarray:
    """[f, 3] faces to the [e, 2] undirected edges that belong to one face only."""
    pairs = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    edges, counts = np.unique(pairs, axis=0, return_counts=True)
    return edges[counts == 1]


def euler_characteristic(faces: np.ndarray) -> int:
    """V - E + F of the vertices that faces use."""
    return len(np.unique(faces)) - len(unique_edges(faces)) + len(faces)


def uniform_laplacian(faces: np.ndarray, num_vertices: int) -> Tensor:
    """Sparse [v, v] matrix L = D^-1 A - I: (L x)_i = mean of the neighbours of i minus x_i."""
    edges = unique_edges(faces)
    rows = np.concatenate([edges[:, 0], edges[:, 1]])
    columns = np.concatenate([edges[:, 1], edges[:, 0]])
    degree = np.bincount(rows, minlength=num_vertices)
    values = 1.0 / degree[rows]
    own = np.arange(num_vertices)
    indices = np.stack([np.concatenate([rows, own]), np.concatenate([columns, own])])
    data = np.concatenate([values, -np.ones(num_vertices)])
    matrix = torch.sparse_coo_tensor(
        torch.from_numpy(indices),
        torch.from_numpy(data).float(),
        (num_vertices, num_vertices),
        check_invariants=True,  # said either way, torch does not warn
    )
    return matrix.coalesce()


def loop_subdivision(faces: np.ndarray, num_vertices: int) -> tuple[Tensor, np.ndarray]:
    """One step of Loop subdivision as a sparse [v + e, v] matrix, and its [4 f, 3] faces.

    Loop 1987 with the weights of Warren.
    For pictures only: smooth silhouettes of a 778-vertex hand. Any per-vertex quantity is refined
    by the same matrix.
    """
    edges = unique_edges(faces)
    midpoint = {tuple(edge): num_vertices + i for i, edge in enumerate(edges.tolist())}
    opposite: dict[tuple[int, int], list[int]] = defaultdict(list)
    for a, b, c in faces.tolist():
        for i, j, k in ((a, b, c), (b, c, a), (c, a, b)):
            opposite[min(i, j), max(i, j)].append(k)
    entries: list[tuple[int, int, float]] = []
    neighbours: dict[int, set[int]] = defaultdict(set)
    border: dict[int, set[int]] = defaultdict(set)
    for (a, b), corners in opposite.items():
        neighbours[a].add(b)
        neighbours[b].add(a)
        row = midpoint[a, b]
        if len(corners) == 1:
            border[a].add(b)
            border[b].add(a)
            entries += [(row, a, 0.5), (row, b, 0.5)]
        else:
            entries += [(row, a, 0.375), (row, b, 0.375), *((row, c, 0.125) for c in corners)]
    for v in range(num_vertices):
        ring = border[v] or neighbours[v]
        beta = 0.125 if border[v] else (3 / 16 if len(ring) == 3 else 3 / (8 * max(len(ring), 1)))
        entries += [(v, v, 1 - beta * len(ring)), *((v, u, beta) for u in ring)]
    rows, columns, values = (np.array(column) for column in zip(*entries, strict=True))
    matrix = torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([rows, columns])),
        torch.from_numpy(values).float(),
        (num_vertices + len(edges), num_vertices),
        check_invariants=True,
    ).coalesce()

    def mid(i: int, j: int) -> int:
        return midpoint[min(i, j), max(i, j)]

    finer = []
    for a, b, c in faces.tolist():
        ab, bc, ca = mid(a, b), mid(b, c), mid(c, a)
        finer += [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    return matrix, np.array(finer, dtype=np.int64)
