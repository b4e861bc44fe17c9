"""Pose correctives: linear skinning loses volume at bent joints, dual quaternions keep it.

The difference between the two, in the rest frame, is regressed on the joints' R - I, as MANO's
pose blend shapes are. Dual-quaternion skinning: Kavan et al. 2008.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from s2hand.geometry.skeleton import MANO_PARENTS

from .canonical import Axes, global_rotations, skin, skinning_transforms
from .poses import random_pose

SAMPLES = 900
FRACTION = 0.85
"""Corrected fraction of the difference: the full difference makes joints bulge."""
RIDGE = 2e-3


def dual_quaternion_skin(
    vertices: np.ndarray, weights: np.ndarray, transforms: np.ndarray
) -> np.ndarray:
    """[n, 3] vertices moved by blended dual quaternions of [16, 4, 4] rigid maps."""
    real = Rotation.from_matrix(transforms[:, :3, :3]).as_quat()[:, [3, 0, 1, 2]]
    for j, parent in enumerate(MANO_PARENTS[1:], start=1):
        real[j] *= 1 if real[j] @ real[parent] >= 0 else -1
    shift = transforms[:, :3, 3]
    w, v = real[:, :1], real[:, 1:]
    scalar = -(shift * v).sum(1, keepdims=True)
    dual = 0.5 * np.concatenate([scalar, w * shift + np.cross(shift, v)], 1)
    real, dual = weights @ real, weights @ dual
    length = np.linalg.norm(real, axis=1, keepdims=True)
    real, dual = real / length, dual / length
    w, v = real[:, :1], real[:, 1:]
    rotated = vertices + 2 * np.cross(v, np.cross(v, vertices) + w * vertices)
    return rotated + 2 * (w * dual[:, 1:] - dual[:, :1] * v + np.cross(v, dual[:, 1:]))


def _samples(
    template: np.ndarray,
    joints: np.ndarray,
    weights: np.ndarray,
    axes: Axes,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """([n, 135] R - I, [n, 778, 3] target offsets at rest) of random poses."""
    features, offsets = [], []
    for _ in range(SAMPLES):
        pose = random_pose(axes, rng)
        pose = pose + rng.normal(0, 0.12, 45) * (rng.random() < 0.5)
        local = Rotation.from_rotvec(pose.reshape(15, 3)).as_matrix()
        transforms = skinning_transforms(joints, global_rotations(local))
        target = dual_quaternion_skin(template, weights, transforms)
        lost = FRACTION * (target - skin(template, weights, transforms))
        blended = np.einsum("vj,jab->vab", weights, transforms[:, :3, :3])
        offsets.append(np.linalg.solve(blended + 1e-6 * np.eye(3), lost[..., None])[..., 0])
        features.append((local - np.eye(3)).reshape(135))
    return np.array(features), np.array(offsets)


def _bending_joints(weights: np.ndarray) -> dict[tuple[int, ...], list[int]]:
    """Vertices between two parts, grouped by the finger joints (0..14) that bend them."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for vertex, attached in enumerate(weights > 0.02):
        joints = [j - 1 for j in np.flatnonzero(attached) if j > 0]
        if attached.sum() < 2 or not joints:
            continue
        # A vertex shared by a joint and its parent is bent by that joint alone.
        joints = [j for j in joints if attached[MANO_PARENTS[j + 1]]] or joints
        groups.setdefault(tuple(joints), []).append(vertex)
    return groups


def build_correctives(
    template: np.ndarray,
    joints: np.ndarray,
    weights: np.ndarray,
    axes: Axes,
    rng: np.random.Generator,
) -> np.ndarray:
    """[778, 3, 135] ridge regression, each vertex on the joints next to it only."""
    features, offsets = _samples(template, joints, weights, axes, rng)
    posedirs = np.zeros((len(template), 3, 135))
    for bending, vertices in _bending_joints(weights).items():
        columns = np.concatenate([np.arange(9 * j, 9 * j + 9) for j in bending])
        x = features[:, columns]
        gram = x.T @ x + RIDGE * SAMPLES * np.eye(len(columns))
        solution = np.linalg.solve(gram, x.T @ offsets[:, vertices].reshape(SAMPLES, -1))
        block = solution.reshape(len(columns), len(vertices), 3).transpose(1, 2, 0)
        posedirs[np.ix_(np.array(vertices), np.arange(3), columns)] = block
    return posedirs
