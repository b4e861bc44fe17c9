"""Regularisation of the per-vertex colours."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from s2hand.loss.base import Loss
from s2hand.types import HandBatch, Prediction


class TextureOutliers(Loss):
    """Distance from the mean colour of entries beyond two deviations (S2HAND, form P).

    Mean and standard deviation are per image and channel; entries within two deviations
    count 0; the result is the mean over all vertices and channels. Unweighted: the public code
    mistypes its confidence.
    """

    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The mean over images, vertices and channels."""
        texture = prediction.hand.code.texture
        distance = (texture - texture.mean(-2, keepdim=True)).abs()
        outside = distance > 2 * texture.std(-2, keepdim=True)
        return torch.where(outside, distance, 0.0).mean()
