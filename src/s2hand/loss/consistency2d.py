"""Agreement of the estimated and the projected 2D joints."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from s2hand.loss.base import Loss
from s2hand.loss.keypoints import piecewise_distance
from s2hand.types import HandBatch, Prediction


class Consistency2D(Loss):
    """Mean piecewise distance of J^est (last stage) and J^pro (S2HAND, 2D-3D consistency; form P).

    Uses no detections: the branches correct each other where the detector is unsure. Pixels.
    """

    needs_estimate = True

    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The mean over clips, frames and joints."""
        return piecewise_distance(prediction.estimated_joints_2d[-1], prediction.joints_2d).mean()
