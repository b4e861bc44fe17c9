"""Give vertices the ids that public code expects of MANO: fingertips and the wrist's loop.

Only published ids are used, so that tools written for MANO find the fingertips; the positions of
these vertices follow from the open hand's mesh.
"""

from __future__ import annotations

import numpy as np

from s2hand.geometry.mesh import unique_edges

# The wrist's boundary loop as public code seals it, and each fingertip with the ids that other
# conventions use for the same tip (index, middle, little, ring, thumb).
WRIST_LOOP = (92, 38, 122, 118, 117, 119, 120, 108, 79, 78, 121, 214, 215, 279, 239, 234)
TIP_IDS = ((320, 317, 333), (443, 444), (672, 671, 673), (555, 554, 556), (744, 745))
_SLOTS_IN_ORDER = (0, 1, 3, 2, 4)  # index, middle, ring, little, thumb


def _wrist_loop(template: np.ndarray, faces: np.ndarray) -> list[int]:
    """The boundary from the thumb's side, in the direction of a seal's faces."""
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = {(int(a), int(b)) for a, b in pairs}
    after = {a: b for a, b in edges if (b, a) not in edges}
    loop = [max(sorted(after), key=lambda v: template[v, 2])]
    while after[loop[-1]] != loop[0]:
        loop.append(after[loop[-1]])
    return [loop[0], *reversed(loop[1:])]


def final_order(
    template: np.ndarray, faces: np.ndarray, tips: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """[778] the current vertex of each final id."""
    ids = dict(zip(_wrist_loop(template, faces), WRIST_LOOP, strict=True))
    neighbours: dict[int, list[int]] = {}
    for a, b in unique_edges(faces).tolist():
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    for tip, (tip_id, *beside) in zip(tips.tolist(), TIP_IDS, strict=True):
        ids[tip] = tip_id
        distance = {v: np.linalg.norm(template[v] - template[tip]) for v in neighbours[tip]}
        nearest = [v for v in sorted(distance, key=lambda v: distance[v]) if v not in ids]
        ids |= dict(zip(nearest, beside, strict=False))
    part = weights.argmax(1)
    rank = {0: 0}
    for position, slot in enumerate(_SLOTS_IN_ORDER):
        rank |= {1 + 3 * slot + k: 1 + 3 * position + k for k in range(3)}
    others = [v for v in range(len(template)) if v not in ids]
    others.sort(key=lambda v: (rank[int(part[v])], -round(template[v, 0], 6), v))
    free = sorted(set(range(len(template))) - set(ids.values()))
    ids |= dict(zip(others, free, strict=True))
    order = np.empty(len(template), dtype=np.int64)
    for vertex, final in ids.items():
        order[final] = vertex
    return order


def renumber_faces(faces: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The faces under the final ids, each starting with its smallest id, sorted."""
    final = np.empty(len(order), dtype=np.int64)
    final[order] = np.arange(len(order))
    renamed = final[faces]
    first = renamed.argmin(1)[:, None]
    rolled = np.take_along_axis(renamed, (first + np.arange(3)) % 3, axis=1)
    return rolled[np.lexsort(rolled.T[::-1])]
