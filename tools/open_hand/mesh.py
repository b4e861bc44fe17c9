"""The 778-vertex mesh: which source vertices survive, their faces, tips and skinning weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix, diags

from s2hand.geometry.mesh import unique_edges

from .canonical import (
    RestHand,
    bend_fingers,
    finger_axes,
    normalised_weights,
    skin,
    skinning_transforms,
)
from .cut import cut_wrist, triangulate
from .decimate import HalfEdgeCollapse
from .source import Source

NUM_VERTICES = 778
WRIST_LOOP = 16

# Degrees of (index, middle, little, ring, thumb) x (base, middle, tip): fist, hook, flat fist.
BENT_POSES = tuple(
    np.array([*[finger] * 4, thumb], dtype=float)
    for finger, thumb in (
        ((75, 85, 55), (15, 35, 55)),
        ((35, 95, 25), (0, 15, 70)),
        ((85, 15, 15), (25, 0, 0)),
    )
)


@dataclass(frozen=True)
class HandMesh:
    """The topology and skinning of the open hand, before its vertices get their final ids."""

    pick: csr_matrix
    """[778, n] from the source's vertices."""
    faces: np.ndarray
    tips: np.ndarray
    """[5] vertex of each fingertip, MANO's finger order."""
    weights: np.ndarray
    """[778, 16]."""


def _fingertips(
    vertices: np.ndarray, weights: np.ndarray, hand: RestHand, source: Source
) -> list[int]:
    """The surface vertex furthest along each finger, a little to the palm's side."""
    axes = finger_axes(hand, source.weights)
    tips = []
    for finger in range(5):
        last = np.flatnonzero(weights[:, 3 + 3 * finger] > 0.5)
        offset = vertices[last] - hand.tips[finger]
        ahead = offset @ (axes.bone[finger, 2] - 0.35 * axes.back[finger, 2])
        aside = np.abs(offset @ axes.bend[finger, 2])
        tips.append(int(last[np.argmax(ahead - 0.8 * aside)]))
    return tips


def _importance(vertices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Importance of vertices for the mesh: finger ends most, forearm least."""
    base, middle, last = (weights[:, k::3].sum(1) for k in (1, 2, 3))
    return (1 + 6 * last + 2 * middle + 0.7 * base) * np.where(vertices[:, 0] > -0.01, 0.35, 1.0)


def _smooth(weights: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Two Laplacian passes, then the four largest influences above 1 %, renormalised."""
    edges = unique_edges(faces)
    both = np.concatenate([edges, edges[:, ::-1]])
    adjacency = coo_matrix((np.ones(len(both)), both.T), shape=(len(weights),) * 2).tocsr()
    mean = diags(1 / np.asarray(adjacency.sum(1)).ravel()) @ adjacency
    for _ in range(2):
        weights = 0.7 * weights + 0.3 * (mean @ weights)
    weights = np.where(weights < 0.01, 0, weights)
    fourth = np.sort(weights, axis=1)[:, -4][:, None]
    weights = np.where(weights >= fourth, weights, 0)
    return weights / weights.sum(1, keepdims=True)


def build_mesh(source: Source, average: RestHand) -> HandMesh:
    """Cut and decimate the average hand."""
    near = (average.vertices[source.quads][:, :, 0] < 0.05).all(1)
    triangles = triangulate(source.quads[near], average.vertices)
    cut, faces = cut_wrist(triangles, average.vertices)
    vertices, weights = cut @ average.vertices, normalised_weights(cut @ source.weights)
    tips = _fingertips(vertices, weights, average, source)
    axes = finger_axes(average, source.weights)
    bent = [
        skin(vertices, weights, skinning_transforms(average.joints, bend_fingers(axes, degrees)))
        for degrees in BENT_POSES
    ]
    mesh = HalfEdgeCollapse(
        np.stack([vertices, *bent]), faces, _importance(vertices, weights), tips
    )
    mesh.thin_boundary(WRIST_LOOP)
    mesh.reduce(NUM_VERTICES)
    kept, faces = mesh.result()
    pick = cut[kept]
    return HandMesh(
        pick=pick,
        faces=faces,
        tips=np.searchsorted(kept, tips),
        weights=_smooth(normalised_weights(pick @ source.weights), faces),
    )
