"""Half-edge collapse down to 778 vertices, by quadric errors averaged over several poses.

Quadrics: Garland and Heckbert 1997; averaging them over poses keeps the rings that a bent joint
needs (DeCoro and Rusinkiewicz 2005). A collapse moves a vertex onto a neighbour, so the survivors
are original vertices with exact attributes. The boundary is thinned first.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

import numpy as np

MAX_VALENCE = 9
MIN_COSINE_REST = 0.5
MIN_COSINE_POSED = 0.2
EDGE_PENALTY = 2e-4
"""Weight of area x squared edge length against the quadric error: keeps triangles even."""

Face = tuple[int, int, int]


class HalfEdgeCollapse:
    """A triangle mesh in several poses [p, n, 3] that loses one vertex per collapse."""

    def __init__(
        self, poses: np.ndarray, faces: np.ndarray, importance: np.ndarray, protected: Iterable[int]
    ) -> None:
        self.poses, self.importance, self.protected = poses, importance, set(protected)
        self.homogeneous = np.concatenate([poses, np.ones((*poses.shape[:2], 1))], 2)
        self.faces: dict[int, Face] = {i: (a, b, c) for i, (a, b, c) in enumerate(faces.tolist())}
        self.faces_of: list[set[int]] = [set() for _ in range(poses.shape[1])]
        for i, face in self.faces.items():
            for v in face:
                self.faces_of[v].add(i)
        self.alive = np.array([bool(f) for f in self.faces_of])
        self.version = np.zeros(len(self.alive), dtype=int)
        self.quadrics = self._face_quadrics()
        self.boundary = {
            v
            for a, b, c in self.faces.values()
            for u, w in ((a, b), (b, c), (c, a))
            if self._shared(u, w) == 1
            for v in (u, w)
        }

    def _face_quadrics(self) -> np.ndarray:
        """[n, p, 4, 4]: a third of each face's area-weighted plane quadric at its corners."""
        quadrics = np.zeros((self.poses.shape[1], len(self.poses), 4, 4))
        for face in self.faces.values():
            normal = self._normal(face)
            double_area = np.linalg.norm(normal, axis=1, keepdims=True) + 1e-15
            normal = normal / double_area
            offset = -(normal * self.poses[:, face[0]]).sum(1, keepdims=True)
            plane = np.concatenate([normal, offset], 1)
            weight = double_area / 2 * self.importance[list(face)].mean() / 3
            quadric = plane[:, :, None] * plane[:, None, :] * weight[:, None]
            for v in face:
                quadrics[v] += quadric
        return quadrics

    def _normal(self, face: Face) -> np.ndarray:
        a, b, c = self.poses[:, face[0]], self.poses[:, face[1]], self.poses[:, face[2]]
        return np.cross(b - a, c - a)

    def _evenness(self, face: Face) -> float:
        """1 for an equilateral triangle at rest, 0 for a degenerate one."""
        a, b, c = self.poses[0, list(face)]
        squares = ((a - b) ** 2).sum() + ((b - c) ** 2).sum() + ((c - a) ** 2).sum()
        area = np.linalg.norm(np.cross(b - a, c - a)) / 2
        return float(4 * np.sqrt(3) * area / (squares + 1e-18))

    def neighbours(self, v: int) -> set[int]:
        """The vertices that share a face with ``v``."""
        return {u for i in self.faces_of[v] for u in self.faces[i]} - {v}

    def _shared(self, u: int, v: int) -> int:
        return len(self.faces_of[u] & self.faces_of[v])

    def _moved(self, v: int, u: int) -> list[tuple[Face, Face]]:
        """(before, after) of the faces that survive when ``v`` moves onto ``u``."""
        faces = [self.faces[i] for i in self.faces_of[v]]
        pairs = []
        for face in faces:
            if u not in face:
                a, b, c = (u if w == v else w for w in face)
                pairs.append((face, (a, b, c)))
        return pairs

    def _keeps_topology(self, v: int, u: int, on_boundary: bool) -> bool:
        """The link condition, and valences that stay within bounds."""
        around_u, around_v = self.neighbours(u), self.neighbours(v)
        common = around_u & around_v
        if on_boundary:
            return self._shared(u, v) == 1 and len(common) == 1
        if v in self.boundary or self._shared(u, v) != 2 or len(common) != 2:
            return False
        if len(around_u) + len(around_v) - 4 > MAX_VALENCE:
            return False
        return all(len(self.neighbours(w)) > (3 if w in self.boundary else 4) for w in common)

    def allowed(self, v: int, u: int, on_boundary: bool = False) -> bool:
        """Whether ``v`` may move onto ``u``: topology kept, no face flipped or flattened."""
        if not (self.alive[v] and self.alive[u]) or v in self.protected:
            return False
        if u not in self.neighbours(v) or not self._keeps_topology(v, u, on_boundary):
            return False
        for before, after in self._moved(v, u):
            n, m = self._normal(before), self._normal(after)
            lengths = np.linalg.norm(n, axis=1) * np.linalg.norm(m, axis=1) + 1e-20
            cosines = (n * m).sum(1) / lengths
            if cosines[0] < MIN_COSINE_REST or cosines.min() < MIN_COSINE_POSED:
                return False
            worst = min(0.25, 0.7 * self._evenness(before))
            if not on_boundary and self._evenness(after) < worst:
                return False
        return True

    def cost(self, v: int, u: int) -> float:
        """Mean quadric error of ``v`` moving onto ``u``, plus a penalty on long, uneven results."""
        x = self.homogeneous[:, u]
        error = np.einsum("pi,pij,pj->p", x, self.quadrics[v] + self.quadrics[u], x).mean()
        squared = ((self.poses[0, u] - self.poses[0, v]) ** 2).sum()
        area = sum(
            float(np.linalg.norm(self._normal(self.faces[i])[0])) / 2 for i in self.faces_of[v]
        )
        evenness = [self._evenness(after) for _, after in self._moved(v, u)]
        uneven = 1 + 2 * (1 - min(evenness)) if evenness else 1.0
        return float(error + EDGE_PENALTY * self.importance[v] * area * squared * uneven)

    def collapse(self, v: int, u: int) -> None:
        """Move ``v`` onto ``u``."""
        for i in list(self.faces_of[v]):
            face = self.faces[i]
            if u in face:
                for w in face:
                    self.faces_of[w].discard(i)
                del self.faces[i]
            else:
                a, b, c = (u if w == v else w for w in face)
                self.faces[i] = (a, b, c)
                self.faces_of[u].add(i)
        self.faces_of[v] = set()
        self.alive[v] = False
        self.quadrics[u] += self.quadrics[v]
        self.boundary.discard(v)

    def thin_boundary(self, count: int) -> None:
        """Drop the boundary vertex whose two neighbours are nearest to each other, repeatedly."""
        while len(self.boundary) > count:
            candidates = []
            for v in sorted(self.boundary):
                around = sorted(
                    u for u in self.neighbours(v) & self.boundary if self._shared(u, v) == 1
                )
                gap = np.linalg.norm(self.poses[0, around[0]] - self.poses[0, around[1]])
                for u in around:
                    if self.allowed(v, u, on_boundary=True):
                        step = np.linalg.norm(self.poses[0, u] - self.poses[0, v])
                        candidates.append((gap, step, v, u))
            _, _, v, u = min(candidates)
            self.collapse(v, u)

    def reduce(self, count: int) -> None:
        """Collapse the cheapest half-edges until ``count`` vertices are left."""
        queue: list[tuple[float, int, int, int, int]] = []

        def push(v: int, u: int) -> None:
            if v not in self.boundary and v not in self.protected:
                entry = (self.cost(v, u), v, u, int(self.version[v]), int(self.version[u]))
                heapq.heappush(queue, entry)

        for v in np.flatnonzero(self.alive).tolist():
            for u in sorted(self.neighbours(v)):
                push(v, u)
        left = int(self.alive.sum())
        while left > count:
            _, v, u, version_v, version_u = heapq.heappop(queue)
            stale = self.version[v] != version_v or self.version[u] != version_u
            if stale or not self.allowed(v, u):
                continue
            ring = self.neighbours(v)
            self.collapse(v, u)
            left -= 1
            self.version[list(ring)] += 1
            self.version[u] += 1
            for w in sorted(ring | {u}):
                for x in sorted(self.neighbours(w)):
                    push(w, x)
                    push(x, w)

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """([n'] ids of the surviving vertices, [f', 3] faces over their new positions)."""
        kept = np.flatnonzero(self.alive)
        position = np.full(len(self.alive), -1)
        position[kept] = np.arange(len(kept))
        return kept, position[np.array(list(self.faces.values()))]
