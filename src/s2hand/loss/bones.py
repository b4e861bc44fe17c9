"""Directions of the 20 bones in the image."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from s2hand.geometry.skeleton import BONES, bone_vectors, indices
from s2hand.loss.base import Loss, detected_keypoints
from s2hand.types import HandBatch, Prediction

MIN_LENGTH_PX = 1e-4


def bone_directions(joints: Float[Tensor, "*n 21 2"]) -> Float[Tensor, "*n 20 2"]:
    """Unit vectors from parent to child; shorter than 1 for bones under 1e-4 px, 0 at length 0."""
    vectors = bone_vectors(joints)
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / length.clamp_min(MIN_LENGTH_PX)


class BoneOrientation(Loss):
    """Squared difference of detected and projected unit bone vectors in 2D (S2HAND, form P).

    The weight of a bone is the product of its two joints' confidences; the mean is over all bones,
    so frames of uncertain detections weigh less. At most 4.
    """

    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The mean over clips, frames and bones."""
        detected = bone_directions(detected_keypoints(batch))
        difference = (detected - bone_directions(prediction.joints_2d)).square().sum(-1)
        parents, children = zip(*BONES, strict=True)
        start, end = (
            batch.confidence.index_select(-1, indices(ids, difference.device))
            for ids in (parents, children)
        )
        return (start * end * difference).mean()
