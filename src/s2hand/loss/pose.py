"""Regularisation of the finger joints: anatomical limits and closeness to the mean pose."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from s2hand.loss.base import Loss
from s2hand.types import HandBatch, HandLayer, Prediction


class JointAngleLimits(Loss):
    """Radians by which (twist, spread, bend) leave their limits, bend doubled (S2HAND; limits P).

    The mean is over all joints and angles; those within their limits count 0.
    """

    needs_hand = True
    lower: Tensor
    upper: Tensor
    weights: Tensor

    def __init__(self, hand: HandLayer) -> None:
        super().__init__()
        # The method, not the module: the hand layer must not become a submodule of the loss.
        self.joint_angles = hand.joint_angles
        self.register_buffer("lower", hand.angle_limits[..., 0].clone(), persistent=False)
        self.register_buffer("upper", hand.angle_limits[..., 1].clone(), persistent=False)
        self.register_buffer("weights", torch.tensor([1.0, 1.0, 2.0]), persistent=False)

    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The mean over clips, frames, 15 joints and 3 angles."""
        angles = self.joint_angles(prediction.hand.quaternions)
        excess = (angles - self.upper).relu() + (self.lower - angles).relu()
        return (self.weights * excess).mean()


class PosePrior(Loss):
    """Mean of theta^2 over the PCA coefficients: a mild pull to the mean pose (our definition)."""

    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The mean over clips, frames and components."""
        return prediction.hand.code.pose.square().mean()
