"""F-scores of hand meshes: how much of each surface lies near the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

F_SCORE_THRESHOLDS_M = (0.005, 0.015)
"""5 and 15 mm, the thresholds of FreiHAND and HO-3D."""
_CHUNK = 16  # meshes at once: 16 x 778 x 778 distances in float64 are 77 MB


def f_scores(
    prediction: Float[Tensor, "n v 3"],
    target: Float[Tensor, "n w 3"],
    thresholds_m: Sequence[float] = F_SCORE_THRESHOLDS_M,
) -> Float[Tensor, "n t"]:
    """F-score of every sample at each threshold (Knapitsch et al. 2017, Tanks and Temples).

    Precision is the fraction of predicted points whose nearest true point lies closer (<) than the
    threshold, recall the reverse; the score is their harmonic mean, 0 when both are 0. Points are
    in metres and computed in float64; the predictions are not aligned here.
    """
    parts = [
        _chunk_scores(p.double(), t.double(), thresholds_m)
        for p, t in zip(prediction.split(_CHUNK), target.split(_CHUNK), strict=True)
    ]
    return torch.cat(parts)


def _chunk_scores(prediction: Tensor, target: Tensor, thresholds_m: Sequence[float]) -> Tensor:
    # The fast matrix-product form of cdist loses half the digits of millimetres at 0.6 m.
    distances = torch.cdist(prediction, target, compute_mode="donot_use_mm_for_euclid_dist")
    limits = torch.tensor(thresholds_m, dtype=torch.float64, device=target.device)
    precision = (distances.amin(2)[..., None] < limits).double().mean(1)
    recall = (distances.amin(1)[..., None] < limits).double().mean(1)
    return 2 * precision * recall / (precision + recall).clamp_min(1e-12)
