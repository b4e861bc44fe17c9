"""The texture and shape term of S2HAND(V): one sequence shows one hand.

S: texture and shape are constant in a sequence. O: the exact form, and the constant scale; the
light may change.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from s2hand.loss.base import Loss
from s2hand.types import HandBatch, Prediction


def window_deviation(
    values: Float[Tensor, "b t *n"], confidence: Float[Tensor, "b t 21"]
) -> Float[Tensor, ""]:
    """Mean squared deviation of every frame from its window's confidence-weighted mean.

    A frame's weight is its mean confidence; a window without detections uses the plain mean.
    """
    weights = confidence.mean(-1)
    total = weights.sum(1, keepdim=True)
    weights = torch.where(total > 0, weights, torch.ones_like(weights))
    weights = weights / weights.sum(1, keepdim=True)
    flat = values.flatten(2)
    mean = (weights[..., None] * flat).sum(1, keepdim=True)
    return (flat - mean).square().mean()


class TextureConsistency(Loss):
    """Deviation of the vertex colours C from the window's mean, squared (O)."""

    min_frames = 2

    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The mean over clips, frames, vertices and channels."""
        return window_deviation(prediction.hand.code.texture, batch.confidence)


class ShapeConsistency(Loss):
    """Deviation of beta from the window's mean, squared (O)."""

    min_frames = 2

    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The mean over clips, frames and components."""
        return window_deviation(prediction.hand.code.shape, batch.confidence)


class ScaleConsistency(Loss):
    """Deviation of the scale s from the window's mean, squared (O)."""

    min_frames = 2

    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The mean over clips and frames."""
        return window_deviation(prediction.hand.code.scale, batch.confidence)
