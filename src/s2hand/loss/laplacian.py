"""Smoothness of the hand's surface."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from s2hand.geometry.mesh import uniform_laplacian
from s2hand.geometry.skeleton import NUM_VERTICES
from s2hand.loss.base import Loss
from s2hand.types import HandBatch, HandLayer, Prediction


class LaplacianSmoothness(Loss):
    """Mean distance of a vertex from the mean of its neighbours, metres (S2HAND, mesh Laplacian).

    P: the mean over vertices of |(L v)_i|. O: L = D^-1 A - I is uniform (Desbrun et al. 1999),
    where the public code uses the cotangents of the first hand of each batch. No hand reaches 0:
    the open hand's mean pose has 2.5 mm.
    """

    needs_hand = True
    indices: Tensor
    values: Tensor

    def __init__(self, hand: HandLayer) -> None:
        super().__init__()
        laplacian = uniform_laplacian(hand.faces.cpu().numpy(), NUM_VERTICES)
        # Dense buffers of a sparse matrix: distributed training cannot broadcast sparse ones.
        self.register_buffer("indices", laplacian.indices(), persistent=False)
        self.register_buffer("values", laplacian.values(), persistent=False)

    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The mean over clips, frames and vertices."""
        vertices = prediction.hand.vertices.flatten(0, 1)  # [n, v, 3]
        count = vertices.shape[1]
        laplacian = torch.sparse_coo_tensor(
            self.indices,
            self.values,
            (count, count),
            is_coalesced=True,
            check_invariants=False,
        )
        offsets = laplacian @ vertices.transpose(0, 1).flatten(1)  # [v, n * 3]
        return torch.linalg.vector_norm(offsets.unflatten(1, (-1, 3)), dim=-1).mean()
