"""Cut the arm off behind the wrist and triangulate, as a sparse map from the source's vertices."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

CUT_M = 0.016
"""Metres behind the wrist joint (+x)."""


def triangulate(quads: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """[q, 4] quads to [2 q, 3] triangles, split along the shorter diagonal."""
    a, b, c, d = quads.T
    first = np.linalg.norm(vertices[a] - vertices[c], axis=1)
    second = np.linalg.norm(vertices[b] - vertices[d], axis=1)
    split = (first <= second)[:, None]
    upper = np.where(split, quads[:, [0, 1, 2]], quads[:, [0, 1, 3]])
    lower = np.where(split, quads[:, [0, 2, 3]], quads[:, [1, 2, 3]])
    return np.concatenate([upper, lower])


def cut_wrist(triangles: np.ndarray, vertices: np.ndarray) -> tuple[csr_matrix, np.ndarray]:
    """Keep x <= CUT_M: ([k, n] matrix whose rows mix source vertices, [f, 3] faces of its rows)."""
    x = vertices[:, 0]
    inside = x <= CUT_M
    rows: dict[tuple[int, int], int] = {}  # (i, i) a vertex, (i, j) the cut of an edge

    def row(i: int, j: int) -> int:
        return rows.setdefault((min(i, j), max(i, j)), len(rows))

    faces: list[tuple[int, int, int]] = []
    for triangle in triangles:
        count = inside[triangle].sum()
        # The odd one out first, the cyclic order kept.
        odd = int(np.argmin(inside[triangle])) if count == 2 else int(np.argmax(inside[triangle]))
        a, b, c = (int(v) for v in np.roll(triangle, -odd))
        if count == 3:
            faces.append((row(a, a), row(b, b), row(c, c)))
        elif count == 2:
            faces += [(row(a, b), row(b, b), row(c, c)), (row(a, b), row(c, c), row(a, c))]
        elif count == 1:
            faces.append((row(a, a), row(a, b), row(a, c)))
    entries: list[tuple[int, int, float]] = []
    for (i, j), r in rows.items():
        fraction = 0.0 if i == j else (CUT_M - x[i]) / (x[j] - x[i])
        entries += [(r, i, 1 - fraction)] + ([(r, j, fraction)] if i != j else [])
    row_ids, columns, values = (np.array(column) for column in zip(*entries, strict=True))
    return csr_matrix((values, (row_ids, columns)), shape=(len(rows), len(vertices))), np.array(
        faces
    )
