"""A skin colour per vertex: a paler palm, redder knuckles, nails. Painted by rule, not measured."""

from __future__ import annotations

import numpy as np

from .canonical import Axes
from .poses import vertex_normals

SKIN, PALM = np.array([0.80, 0.58, 0.47]), np.array([0.88, 0.64, 0.54])
KNUCKLE, NAIL = np.array([0.70, 0.42, 0.34]), np.array([0.93, 0.72, 0.66])


def paint(
    template: np.ndarray,
    faces: np.ndarray,
    joints: np.ndarray,
    tips: np.ndarray,
    weights: np.ndarray,
    axes: Axes,
) -> tuple[np.ndarray, np.ndarray]:
    """([778, 3] RGB 0..1, [778, 3] masks of palm, knuckle and nail)."""
    normals = vertex_normals(template, faces)
    palm = np.clip(-normals[:, 1], 0, 1) ** 0.8
    colour = SKIN + 0.55 * palm[:, None] * (PALM - SKIN)
    knuckles, nails = np.zeros(len(template)), np.zeros(len(template))
    for finger in range(5):
        for k in range(3):
            distance = np.linalg.norm(template - joints[1 + 3 * finger + k], axis=1)
            backward = np.clip(normals @ axes.back[finger, k], 0, 1)
            knuckle = np.exp(-((distance / 0.011) ** 2)) * backward
            knuckles = np.maximum(knuckles, knuckle)
            colour = colour + 0.45 * knuckle[:, None] * (KNUCKLE - colour)
        last, bone = joints[3 + 3 * finger], axes.bone[finger, 2]
        along = ((template - last) @ bone) / ((template[tips[finger]] - last) @ bone)
        backward = np.clip((normals @ axes.back[finger, 2] - 0.55) / 0.25, 0, 1)
        nail = (weights[:, 3 + 3 * finger] > 0.5) * (along > 0.42) * backward
        nails = np.maximum(nails, nail)
        colour = colour + nail[:, None] * (NAIL - colour)
    return colour, np.stack([palm, knuckles, nails], 1)
