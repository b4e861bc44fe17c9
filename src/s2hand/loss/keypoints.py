"""Detected 2D keypoints against the projected joints and against the 2D estimator."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from s2hand.geometry.skeleton import NUM_JOINTS, TIPS
from s2hand.loss.base import Loss, detected_keypoints, weighted_mean
from s2hand.types import HandBatch, Prediction

WRIST_WEIGHT = 2.0
TIP_WEIGHT = 1.5


def piecewise_distance(
    a: Float[Tensor, "*n 21 2"], b: Float[Tensor, "*n 21 2"]
) -> Float[Tensor, "*n 21"]:
    """d^2 / 10 for d = |a - b| below 5 pixels, d - 2.5 above: smooth and robust (P)."""
    distance = torch.linalg.vector_norm(a - b, dim=-1)
    return torch.where(distance < 5, distance.square() / 10, distance - 2.5)


class JointLocation(Loss):
    """Piecewise distance of detected and projected joints (S2HAND, joint location; constants P).

    The mean over joints, frames and clips with weights (confidence * k)^2, k = 2 for the wrist,
    1.5 for fingertips, 1 otherwise. Pixels of the crop.
    """

    importance: Tensor

    def __init__(self) -> None:
        super().__init__()
        importance = torch.ones(NUM_JOINTS)
        importance[0] = WRIST_WEIGHT
        importance[list(TIPS)] = TIP_WEIGHT
        self.register_buffer("importance", importance, persistent=False)

    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The weighted mean distance."""
        distance = piecewise_distance(detected_keypoints(batch), prediction.joints_2d)
        return weighted_mean(distance, (batch.confidence * self.importance).square())


class Estimator2D(Loss):
    """Distance of detected keypoints and the 2D estimator's (S2HAND, 2D keypoint estimation).

    sum(con^2 |J^de - J^est|) / sum(con^2) in pixels, added over the estimator's stages (P).
    """

    needs_estimate = True

    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The weighted mean distance of each stage, summed."""
        detected, weights = detected_keypoints(batch), batch.confidence.square()
        stages = torch.stack(prediction.estimated_joints_2d)
        distance = torch.linalg.vector_norm(stages - detected, dim=-1)
        return weighted_mean(distance.sum(0), weights)
