"""The motion term of S2HAND(V): a hand joint rotates smoothly within a short window.

S: a constraint on joint rotations as quaternions. O: the exact forms, of which a run uses one.
All are over the root and the 15 finger joints; q and -q count as the same rotation.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from s2hand.geometry.rotation import (
    quaternion_conjugate,
    quaternion_multiply,
    slerp_midpoint,
    squared_angle,
)
from s2hand.loss.base import Loss
from s2hand.types import HandBatch, Prediction


class RotationLoss(Loss):
    """A motion term on angles: squared up to ``limit_deg``, linear beyond (Huber; O).

    A model that mistakes the palm for the back of the hand in one frame rotates the root by up to
    180 degrees. Squared, these few rotations outweigh the jitter of all fingers a hundred times and
    cost keypoint accuracy. ``limit_deg=180`` squares all angles.
    """

    def __init__(self, limit_deg: float = 6.0) -> None:
        super().__init__()
        if not 0 < limit_deg <= 180:
            raise ValueError(f"limit_deg={limit_deg}: an angle above 0, at most 180 degrees")
        self.limit = math.radians(limit_deg)

    def cost(self, a: Float[Tensor, "*n 4"], b: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n"]:
        """rad^2 of the angle between two rotations, with a slope of at most twice the limit."""
        square = squared_angle(a, b)
        large = square > self.limit**2
        angle = torch.where(large, square, 1.0).sqrt()  # sqrt has no finite slope at 0
        return torch.where(large, 2 * self.limit * angle - self.limit**2, square)


class QuaternionSlerp(RotationLoss):
    """Cost of the angle of each inner frame to Slerp between its neighbours at distance k (O).

    The mean over frames and joints for each k that fits into the window, then over k. A rotation
    about a fixed axis at constant speed costs nothing.
    """

    min_frames = 3

    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The mean over k of the mean over clips, inner frames and joints."""
        q = prediction.hand.quaternions
        means = [
            self.cost(slerp_midpoint(q[:, : -2 * k], q[:, 2 * k :]), q[:, k:-k]).mean()
            for k in range(1, (q.shape[1] - 1) // 2 + 1)
        ]
        return torch.stack(means).mean()


class QuaternionVelocity(RotationLoss):
    """Cost of the angle between successive relative rotations (constant velocity, O)."""

    min_frames = 3

    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The mean over clips, inner frames and joints."""
        q = prediction.hand.quaternions
        steps = quaternion_multiply(quaternion_conjugate(q[:, :-1]), q[:, 1:])
        return self.cost(steps[:, :-1], steps[:, 1:]).mean()


class QuaternionGeodesic(RotationLoss):
    """Cost of the angle between successive frames: the plain smoothness baseline (O)."""

    min_frames = 2

    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The mean over clips, pairs of frames and joints."""
        q = prediction.hand.quaternions
        return self.cost(q[:, :-1], q[:, 1:]).mean()


class JointAcceleration(Loss):
    """|J[t-1] - 2 J[t] + J[t+1]| in metres per frame^2, camera space: the baseline in 3D (O)."""

    min_frames = 3

    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The mean over clips, inner frames and 21 joints."""
        acceleration = prediction.hand.joints.diff(n=2, dim=1)
        return torch.linalg.vector_norm(acceleration, dim=-1).mean()
