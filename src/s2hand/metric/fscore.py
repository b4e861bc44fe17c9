"""F-scores of hand meshes: the fraction of each surface near the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

F_SCORE_THRESHOLDS_M = (0.005, 0.015)
"""5 and 15 mm, the thresholds of FreiHAND and HO-3D."""


def f_scores(
    prediction: Float[Tensor, "n v 3"],
    target: Float[Tensor, "n w 3"],
    thresholds_m: Sequence[float] = F_SCORE_THRESHOLDS_M,
) -> Float[Tensor, "n t"]:
    """F-score of every sample at each threshold (Knapitsch et al. 2017, Tanks and Temples).

    Precision is the fraction of predicted points whose nearest true point is closer (<) than the
    threshold, recall the reverse; the score is their harmonic mean, 0 when both are 0. Points are
    in metres and computed in float64; the predictions are not aligned here.
    """
    limits = torch.tensor(thresholds_m, dtype=torch.float64, device=target.device)
    pairs = zip(prediction.double(), target.double(), strict=True)
    # One mesh at a time: its 778 x 778 distances stay in the processor's cache.
    scores = [_f_score(points, truth, limits) for points, truth in pairs]
    return torch.stack(scores) if scores else limits.new_zeros(0, len(limits))


def _f_score(prediction: Tensor, target: Tensor, limits: Tensor) -> Tensor:
    # The matrix-product form of cdist rounds in proportion to the distance from the origin; from
    # the target's centre that is below 1e-15 m at 5 mm, at half the time of the direct form.
    centre = target.mean(0)
    distances = torch.cdist(
        prediction - centre, target - centre, compute_mode="use_mm_for_euclid_dist"
    )
    precision = (distances.amin(1)[:, None] < limits).double().mean(0)
    recall = (distances.amin(0)[:, None] < limits).double().mean(0)
    return 2 * precision * recall / (precision + recall).clamp_min(1e-12)
