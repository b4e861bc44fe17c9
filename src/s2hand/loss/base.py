"""The base class of losses, and the two ways in which losses treat missing detections."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from s2hand.types import HandBatch, Prediction


class Loss(nn.Module, ABC):
    """A term of the objective: a prediction and its batch to one unweighted number.

    Weights are in :class:`s2hand.training.objective.Term` only. A subclass declares its inputs
    besides the hand and the detections; the objective refuses a batch that lacks one. Buffers are
    not persistent: checkpoints hold nothing of a loss.
    """

    needs_render: ClassVar[bool] = False
    """Reads ``prediction.render``."""
    needs_labels: ClassVar[bool] = False
    """Reads ``batch.labels``; all other terms get the batch without labels."""
    needs_estimate: ClassVar[bool] = False
    """Reads ``prediction.estimated_joints_2d``."""
    needs_hand: ClassVar[bool] = False
    """Takes the run's hand layer as the constructor's ``hand``, which no configuration names."""
    min_frames: ClassVar[int] = 1
    """Smallest number of frames in a window."""

    @abstractmethod
    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The unweighted term, over all clips and frames."""

    def diagnostics(self, prediction: Prediction, batch: HandBatch) -> dict[str, Tensor]:
        """Further scalars to log, by name."""
        return {}


def weighted_mean(values: Float[Tensor, "*n"], weights: Float[Tensor, "*n"]) -> Float[Tensor, ""]:
    """Sum of ``weights * values`` over sum of ``weights >= 0``; 0 where all weights are 0."""
    total = weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)
    return (weights * values).sum() / total


def detected_keypoints(batch: HandBatch) -> Float[Tensor, "b t 21 2"]:
    """Keypoints with zeros in place of undetected ones, which may hold any value, even NaN.

    A weight of 0 alone would not exclude them: 0 * NaN is NaN.
    """
    return torch.where(batch.confidence[..., None] > 0, batch.keypoints, 0.0)
