"""A hand as a detector reports it for one picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float

from s2hand.geometry.skeleton import BONES

Side = Literal["right", "left"]


@dataclass(frozen=True)
class FoundHand:
    """One hand in one picture."""

    keypoints: Float[np.ndarray, "21 2"]
    """Pixels of the upright picture, pixel centres at integers, common order; may be outside."""
    side: Side
    """The subject's right or left, if the picture is not mirrored."""
    score: float
    """How sure the detector is of the side, 0.5..1."""
    confidence: Float[np.ndarray, " 21"] = field(default_factory=lambda: np.ones(21))
    """Confidence per keypoint, 0..1; 1 until :func:`~s2hand.detect.confidence.with_confidence`."""


def hand_size(keypoints: Float[np.ndarray, "*n 21 2"]) -> Float[np.ndarray, "*n"]:
    """Length of a hand in the picture: the longest path from the wrist along a finger to its tip.

    A path is the sum of its four bones (our definition), in the unit of the keypoints. It changes
    little when the hand closes; the bounding box of a fist is half of an open hand's.
    """
    parents, children = np.transpose(BONES)  # finger by finger, each from the wrist to its tip
    bones = np.linalg.norm(keypoints[..., children, :] - keypoints[..., parents, :], axis=-1)
    size: np.ndarray = bones.reshape(*bones.shape[:-1], 5, 4).sum(-1).max(-1)
    return size
