"""Supervision by 3D labels, for upper bounds only."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from s2hand.loss.base import Loss
from s2hand.types import HandBatch, Prediction


class JointsSupervised(Loss):
    """Mean distance to the labelled 3D joints in metres: our definition, for upper bounds only.

    ``root_relative`` moves both wrists to the origin first; without it the position in camera space
    counts too.
    """

    needs_labels = True

    def __init__(self, root_relative: bool = True) -> None:
        super().__init__()
        self.root_relative = root_relative

    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The mean over clips, frames and joints."""
        if batch.labels is None:
            raise ValueError("JointsSupervised needs batch.labels, which is None")
        difference = prediction.hand.joints - batch.labels.joints
        if self.root_relative:
            difference = difference - difference[..., :1, :]
        return torch.linalg.vector_norm(difference, dim=-1).mean()
