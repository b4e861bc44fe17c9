"""The pose space: plausible finger poses from a mixture of grasps, and their components.

Angles are degrees of (bend, spread, twist) about each joint's axes: bend closes, spread moves the
finger towards the thumb's side (the thumb: out of the palm's plane), twist is about the bone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from .canonical import Axes, global_rotations, skin, skinning_transforms, unit

ROWS = 1554
MAX_PENETRATION_M = 0.0045
KINDS = {"synergy": 0.34, "independent": 0.16, "pattern": 0.2, "pinch": 0.15, "open": 0.15}
ANATOMICAL = (0, 1, 3, 2)
"""MANO's slots of index, middle, ring, little."""
THUMB = 4
SPLAY = np.array([9.0, 1.0, -7.0, -13.0])
"""Degrees of each finger when the hand spreads."""
REST_SPLAY = np.array([7.0, 1.0, -7.0, -15.0])
"""Degrees of splay in the rest pose; bent fingers converge again."""


@dataclass(frozen=True)
class PoseSpace:
    """Mean, principal components (rows as long as their standard deviation) and the samples."""

    mean: np.ndarray
    components: np.ndarray
    coefficients: np.ndarray


def _curls(kind: str, rng: np.random.Generator) -> np.ndarray:
    """How far each of index, middle, ring, little is closed, 0..1."""
    if kind == "synergy":
        return np.clip(rng.beta(1.1, 1.3) + np.cumsum(rng.normal(0, 0.09, 4)), 0, 1)
    if kind == "independent":
        return np.clip(0.5 * rng.beta(0.8, 0.9) + 0.5 * rng.beta(0.7, 0.8, 4), 0, 1)
    if kind == "pattern":
        return np.where(rng.random(4) < 0.5, rng.beta(1.2, 8, 4), rng.beta(8, 1.6, 4))
    if kind == "pinch":
        return np.clip(rng.normal([0.48, 0.5, 0.45, 0.4], 0.12), 0, 1)
    return np.clip(rng.normal(0.06, 0.06, 4), 0, 1)


def _finger_angles(
    curl: float, hook: float, spread: float, finger: int, rng: np.random.Generator
) -> np.ndarray:
    """[3, 3] degrees of one finger; ``hook`` trades bend of the base for bend of the middle."""
    base = np.clip(-8 + 82 * curl - 14 * hook * curl + rng.normal(0, 6), -18, 88)
    middle = np.clip(4 + 96 * curl + 10 * hook * curl * (1.2 - curl) + rng.normal(0, 7), -2, 105)
    last = np.clip(0.62 * middle + rng.normal(0, 6) - 2, -6, 72)
    aside = SPLAY[finger] * spread * (1 - np.clip(base, 0, 90) / 95) + rng.normal(0, 2.2)
    aside -= 0.75 * REST_SPLAY[finger] * np.clip(base, 0, 80) / 80
    return np.array(
        [
            [base, np.clip(aside, -22, 22), rng.normal(0, 2)],
            [middle, rng.normal(0, 1.8), rng.normal(0, 1.8)],
            [last, rng.normal(0, 1.8), rng.normal(0, 1.8)],
        ]
    )


def _thumb_angles(curl: float, rng: np.random.Generator) -> np.ndarray:
    """[3, 3] degrees of the thumb; opposition lifts it out of the palm and turns it inwards."""
    opposition = np.clip(0.9 * curl + rng.normal(0, 0.18), -0.15, 1.15)
    mode = rng.random()
    if mode < 0.18:  # stretched away from the hand
        curl = np.clip(rng.normal(0.05, 0.08), -0.1, 0.3)
        opposition = rng.normal(-0.05, 0.08)
    elif mode < 0.30:  # along the index finger
        curl, opposition = rng.normal(0.45, 0.1), rng.normal(0.0, 0.06)
    return np.array(
        [
            [
                np.clip(-10 + 34 * curl + rng.normal(0, 6), -20, 34),
                np.clip(-8 + 38 * opposition + rng.normal(0, 6), -18, 40),
                np.clip(-2 - 18 * opposition + rng.normal(0, 4), -28, 10),
            ],
            [np.clip(2 + 38 * curl + rng.normal(0, 9), -8, 55), rng.normal(0, 3), rng.normal(0, 2)],
            [
                np.clip(-6 + 52 * curl + rng.normal(0, 14), -22, 76),
                rng.normal(0, 1.8),
                rng.normal(0, 1.8),
            ],
        ]
    )


def random_pose(axes: Axes, rng: np.random.Generator) -> np.ndarray:
    """[45] axis-angle of the 15 finger joints, radians, MANO order."""
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    curls = _curls(kind, rng)
    # Shared tendons: the ring finger follows its neighbours, the little finger follows the ring.
    curls[2] = 0.6 * curls[2] + 0.2 * (curls[1] + curls[3])
    curls[3] = 0.8 * curls[3] + 0.2 * curls[2]
    hook = rng.normal(0, 1)
    spread = np.clip(rng.normal(0.4 if kind == "open" else 0.15, 0.5), -0.7, 1.2)
    thumb = rng.normal(0.6, 0.12) if kind == "pinch" else curls.mean() + rng.normal(0, 0.2)
    degrees = np.zeros((5, 3, 3))
    for finger, slot in enumerate(ANATOMICAL):
        degrees[slot] = _finger_angles(curls[finger], hook, spread, finger, rng)
    degrees[THUMB] = _thumb_angles(float(np.clip(thumb, 0, 1)), rng)
    bend, aside, twist = (
        Rotation.from_rotvec((axis * np.radians(angle)[..., None]).reshape(15, 3))
        for axis, angle in zip(
            (axes.bend, axes.back, axes.bone), degrees.transpose(2, 0, 1), strict=True
        )
    )
    return (aside * bend * twist).as_rotvec().reshape(45)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[n, 3] area-weighted unit normals."""
    a, b, c = vertices[faces].transpose(1, 0, 2)
    normals = np.zeros_like(vertices)
    for corner in faces.T:
        np.add.at(normals, corner, np.cross(b - a, c - a))
    return unit(normals)


def penetration(vertices: np.ndarray, faces: np.ndarray, weights: np.ndarray) -> float:
    """Depth in metres of one finger's outer phalanges behind the surface of another part."""
    part = weights.argmax(1)
    finger, phalanx = (part + 2) // 3, (part - 1) % 3
    normals = vertex_normals(vertices, faces)
    worst = 0.0
    for f in range(1, 6):
        outer = np.flatnonzero((finger == f) & (phalanx >= 1))
        other = np.flatnonzero(finger != f)
        distance, nearest = cKDTree(vertices[other]).query(vertices[outer])
        surface = other[nearest]
        depth = -((vertices[outer] - vertices[surface]) * normals[surface]).sum(1)
        depth[distance > 0.012] = 0
        worst = max(worst, float(np.sort(depth)[-3]))  # a vertex or two may touch
    return worst


def build_poses(
    posed: Callable[[np.ndarray], np.ndarray],
    faces: np.ndarray,
    weights: np.ndarray,
    axes: Axes,
    rng: np.random.Generator,
) -> PoseSpace:
    """Draw poses, reject those whose fingers pass through each other, and find the components."""
    poses: list[np.ndarray] = []
    while len(poses) < ROWS:
        pose = random_pose(axes, rng)
        if penetration(posed(pose), faces, weights) < MAX_PENETRATION_M:
            poses.append(pose)
    samples = np.array(poses)
    mean = samples.mean(0)
    _, _, components = np.linalg.svd(samples - mean, full_matrices=False)
    closes = components[:, [2, 5, 8]].sum(1) >= 0  # a positive coefficient bends the index finger
    components = components * np.where(closes, 1, -1)[:, None]
    coefficients = (samples - mean) @ components.T
    deviation = coefficients.std(0)
    return PoseSpace(mean, components * deviation[:, None], coefficients / deviation)


def pose_mesh(
    pose: np.ndarray, template: np.ndarray, joints: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """[778, 3] the template under a pose, without correctives."""
    local = Rotation.from_rotvec(pose.reshape(15, 3)).as_matrix()
    return skin(template, weights, skinning_transforms(joints, global_rotations(local)))
