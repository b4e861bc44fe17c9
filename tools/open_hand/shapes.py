"""The shape space: many bodies' hands, their principal components, and the joint regressor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from s2hand.geometry.skeleton import MANO_PARENTS

from .canonical import RestHand, bone_directions, rest_hand, unit
from .mesh import HandMesh
from .source import Body, Source

SAMPLES = 800
HAND_LENGTH_M = 0.188
"""Mean distance from the wrist to the middle fingertip of adults."""
LOG_LENGTH_SD = 0.058
"""Its relative standard deviation (11 mm); MakeHuman's spread is about twice as wide."""
THUMB = 4


@dataclass(frozen=True)
class ShapeSpace:
    """Template, directions and joint regressor; the template's centre is the origin."""

    template: np.ndarray
    directions: np.ndarray
    """[778, 3, 10] metres per standard deviation."""
    regressor: np.ndarray
    """[16, 778]."""


def random_body(rng: np.random.Generator) -> Body:
    """One adult."""

    def around_half(spread: float) -> float:
        return float(np.clip(rng.normal(0.5, spread), 0.02, 0.98))

    gender = float(rng.beta(0.45, 0.45))
    age = float(np.clip(abs(rng.normal(0, 0.35)), 0, 1))
    hand = {}
    for name, spread in (
        ("r-hand-fingers-diameter", 0.25),
        ("r-hand-fingers-length", 0.22),
        ("r-hand-scale", 0.12),
        ("measure-wrist-circ", 0.3),
    ):
        amount = float(np.clip(rng.normal(0, spread), -1, 1))
        hand[f"hands/{name}-{'incr' if amount > 0 else 'decr'}"] = abs(amount)
    muscle, weight, height, proportions = (around_half(s) for s in (0.17, 0.17, 0.16, 0.15))
    race = tuple(rng.dirichlet([0.8, 0.8, 0.8]).tolist())
    return Body(gender, age, muscle, weight, height, proportions, race, hand)


def vary(hand: RestHand, mesh: HandMesh, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Variation that MakeHuman's sliders lack: palm proportions, each finger's length and girth."""
    weights, bones = mesh.weights, bone_directions(hand.joints, hand.tips)
    vertices, joints = mesh.pick @ hand.vertices, hand.joints.copy()
    stretch = rng.normal(0, [0.018, 0.03, 0.025])  # length, thickness, width of the palm
    joint_shift = (joints - joints[0]) * stretch
    shift = weights[:, :1] * (vertices - joints[0]) * stretch
    for finger in range(5):  # fingers move with their base joint
        chain = slice(1 + 3 * finger, 4 + 3 * finger)
        shift += weights[:, chain].sum(1)[:, None] * joint_shift[1 + 3 * finger]
        joints[chain] += joint_shift[1 + 3 * finger]
    vertices = vertices + shift
    common_girth = rng.normal(0, 0.03)
    for finger in range(5):
        chain = slice(1 + 3 * finger, 4 + 3 * finger)
        influence, direction = weights[:, chain], unit(bones[finger].mean(0))
        base = joints[chain][0]
        longer = rng.normal(0, 0.04 if finger == THUMB else 0.035)
        thicker = common_girth + rng.normal(0, 0.03)
        along = (vertices - base) @ direction
        growth = influence.sum(1) * longer * np.maximum(along, 0)
        vertices = vertices + growth[:, None] * direction
        across = np.zeros_like(vertices)  # from the finger's polyline
        for k in range(3):
            offset, bone = vertices - joints[chain][k], bones[finger, k]
            across += influence[:, [k]] * (offset - np.outer(offset @ bone, bone))
        vertices = vertices + (thicker * np.clip(along / 0.02, 0, 1))[:, None] * across
        reach = np.maximum((joints[chain] - base) @ direction, 0)
        joints[chain] += longer * reach[:, None] * direction
    return vertices, joints


def _calibrate(
    vertices: np.ndarray, joints: np.ndarray, middle_tip: int
) -> tuple[np.ndarray, np.ndarray]:
    """Scale every sample so that hand lengths have the mean and spread of adults."""
    log_length = np.log(np.linalg.norm(vertices[:, middle_tip] - joints[:, 0], axis=1))
    deviation = (log_length - log_length.mean()) * LOG_LENGTH_SD / log_length.std()
    factor = np.exp(np.log(HAND_LENGTH_M) + deviation - log_length)[:, None, None]
    return vertices * factor, joints * factor


def _regressor(
    vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """[16, 778] non-negative rows that sum to 1, from vertices around each joint."""
    mean, centre = vertices.mean(0), joints.mean(0)
    regressor = np.zeros((16, vertices.shape[1]))
    for j, parent in enumerate(MANO_PARENTS):
        near = np.linalg.norm(mean - centre[j], axis=1) < (0.045 if j == 0 else 0.032)
        near &= weights[:, j] + weights[:, max(parent, 0)] > 0.15
        candidates = np.flatnonzero(near)
        offsets = vertices[chosen][:, candidates] - joints[chosen, j][:, None]
        rows = offsets.transpose(0, 2, 1).reshape(-1, len(candidates))
        damping = 0.001 * np.sqrt(len(chosen)) * np.eye(len(candidates))
        system = np.concatenate([rows, damping, np.ones((1, len(candidates)))])
        target = np.zeros(len(system))
        target[-1] = 1
        row, _ = nnls(system, target)
        row[row < 1e-3] = 0
        regressor[j, candidates] = row / row.sum()
    return regressor


def build_shapes(source: Source, mesh: HandMesh, rng: np.random.Generator) -> ShapeSpace:
    """Sample adults, calibrate their sizes, and keep ten principal components."""
    samples = [vary(rest_hand(source, random_body(rng)), mesh, rng) for _ in range(SAMPLES)]
    vertices, joints = (np.array(part) for part in zip(*samples, strict=True))
    vertices, joints = _calibrate(vertices, joints, mesh.tips[1])
    mean = vertices.mean(0)
    _, singular, axes = np.linalg.svd((vertices - mean).reshape(SAMPLES, -1), full_matrices=False)
    variance = singular**2 / SAMPLES
    directions = (axes[:10] * np.sqrt(variance[:10])[:, None]).reshape(10, *mean.shape)
    grows = (directions * (mean - mean.mean(0))).sum((1, 2)) >= 0  # a larger beta, a larger hand
    directions = directions * np.where(grows, 1, -1)[:, None, None]
    chosen = rng.choice(SAMPLES, 80, replace=False)
    regressor = _regressor(vertices, joints, mesh.weights, chosen)
    return ShapeSpace(
        template=mean - mean.mean(0),
        directions=directions.transpose(1, 2, 0),
        regressor=regressor,
    )
