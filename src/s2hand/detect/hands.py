"""What a detector of hands says of one picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float

Side = Literal["right", "left"]
FINGERS = np.arange(1, 21).reshape(5, 4)
"""Joints of each finger from its base to its tip, in the common order; 0 is the wrist."""


class NoHandError(ValueError):
    """No frame of a source shows a hand."""


@dataclass(frozen=True)
class FoundHand:
    """One hand in one picture."""

    keypoints: Float[np.ndarray, "21 2"]
    """Pixels of the upright picture, pixel centres at integers, common order; may lie outside."""
    side: Side
    """The subject's own hand, if the picture is not mirrored."""
    score: float
    """How sure the detector is of the side, 0.5..1."""
    confidence: Float[np.ndarray, " 21"] = field(default_factory=lambda: np.ones(21))
    """How far each keypoint can be trusted, 0..1; 1 until that was looked into."""


def hand_size(keypoints: Float[np.ndarray, "*n 21 2"]) -> Float[np.ndarray, "*n"]:
    """Length of a hand in the picture: the longest way from the wrist along a finger to its tip.

    The way is the sum of its five bones (our definition), in the unit of the keypoints. A fist
    keeps most of it, where its bounding box is half of an open hand's.
    """
    wrist = np.broadcast_to(keypoints[..., None, :1, :], (*keypoints.shape[:-2], 5, 1, 2))
    chains = np.concatenate([wrist, keypoints[..., FINGERS, :]], axis=-2)
    bones = np.linalg.norm(np.diff(chains, axis=-2), axis=-1)
    size: np.ndarray = bones.sum(-1).max(-1)
    return size
