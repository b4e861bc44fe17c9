"""Regularisation of the hand's shape and size."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from s2hand.loss.base import Loss
from s2hand.types import HandBatch, HandLayer, Prediction


class ShapePrior(Loss):
    """Mean of beta^2: shapes near the hand model's mean (S2HAND, shape regularisation)."""

    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The mean over clips, frames and components."""
        return prediction.hand.code.shape.square().mean()


class ScalePrior(Loss):
    """| |J9 - J10| - target | in metres: the middle finger's first bone sets the size (S2HAND; P).

    One image does not determine size and distance; the target depends on the dataset and the hand
    model. The two joints follow the hand model's convention, as the target does, not the dataset's:
    the bone differs by a tenth between conventions.
    """

    needs_hand = True

    def __init__(self, target_m: float, hand: HandLayer | None = None) -> None:
        super().__init__()
        if not target_m > 0:
            raise ValueError(f"target_m={target_m}: the bone's length in metres, about 0.03")
        self.target_m = target_m
        self.native_joints = None if hand is None else hand.native_joints

    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The mean over clips and frames."""
        joints = prediction.hand.joints
        if self.native_joints is not None:
            joints = self.native_joints(prediction.hand, batch.convention)
        length = torch.linalg.vector_norm(joints[..., 9, :] - joints[..., 10, :], dim=-1)
        return (length - self.target_m).abs().mean()
