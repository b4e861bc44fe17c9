"""Distances between predicted and true points: mean, median, PCK and AUC under named protocols."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from s2hand.geometry.procrustes import (
    Aligned,
    Reflection,
    procrustes_align,
    root_align,
    scale_translation_align,
    warn_mirrored,
)


@dataclass(frozen=True)
class PointProtocol:
    """How a benchmark compares points: the alignment and the thresholds of its AUC."""

    align: Callable[[Tensor, Tensor], Tensor] | None
    """(prediction, target) to aligned prediction; None means Procrustes, which counts mirrors."""
    auc_mm: tuple[float, float] = (0.0, 50.0)
    """First and last threshold."""
    auc_steps: int = 100
    """Number of thresholds, equally spaced, including both ends."""

    def thresholds_m(self) -> Float[Tensor, " t"]:
        """The thresholds of the AUC in metres."""
        first, last = self.auc_mm
        return torch.linspace(first / 1000, last / 1000, self.auc_steps, dtype=torch.float64)


PROTOCOLS: dict[str, PointProtocol] = {
    "camera": PointProtocol(lambda prediction, target: prediction),
    "root": PointProtocol(root_align),
    "pa": PointProtocol(None),
    "scale_translation": PointProtocol(scale_translation_align),
    # STB and RHD are published under two protocols whose numbers cannot be compared: (a) scale by
    # |middle MCP - PIP|, root at joint 0, linspace(0, 50 mm, 20)[8:]; (b) scale by |wrist - middle
    # MCP|, root at joint 9, linspace(20, 50 mm, 15).
    "stb_rhd_root0": PointProtocol(
        lambda prediction, target: scale_translation_align(prediction, target, (9, 10), 0),
        (8 * 50 / 19, 50.0),
        12,
    ),
    "stb_rhd_root9": PointProtocol(
        lambda prediction, target: scale_translation_align(prediction, target, (0, 9), 9),
        (20.0, 50.0),
        15,
    ),
}
"""Alignments by name. ``camera`` aligns nothing; ``scale_translation`` is HO-3D's."""


def point_distances(
    prediction: Float[Tensor, "*n p 3"], target: Float[Tensor, "*n p 3"]
) -> Float[Tensor, "*n p"]:
    """Euclidean distance of each point, in the points' unit."""
    return torch.linalg.vector_norm(prediction - target, dim=-1)


def pck_curve(
    distances: Float[Tensor, "n p"], thresholds: Float[Tensor, " t"]
) -> Float[Tensor, "t p"]:
    """Fraction of samples within each threshold (<=), per keypoint; NaN distances do not count."""
    seen = distances.isfinite().sum(0)
    within = torch.stack([(distances <= threshold).sum(0) for threshold in thresholds])
    return within.double() / seen


def area_under_curve(
    curve: Float[Tensor, " t *p"], thresholds: Float[Tensor, " t"]
) -> Float[Tensor, "*p"]:
    """Trapezoid rule over the thresholds, divided by their range."""
    return torch.trapezoid(curve, thresholds, dim=0) / (thresholds[-1] - thresholds[0])


def keypoint_median(distances: Float[Tensor, "n p"]) -> Float[Tensor, " p"]:
    """Median over samples, the mean of the middle two for an even count, ignoring NaN.

    torch.nanmedian takes the lower of the two, and torch.nanquantile is limited to 2^24 elements.
    """
    ordered = distances.sort(0).values  # NaN last
    seen = distances.isfinite().sum(0, keepdim=True)
    low = ordered.gather(0, (seen - 1).clamp_min(0) // 2)
    high = ordered.gather(0, (seen // 2).clamp_max(len(distances) - 1))
    return ((low + high) / 2).squeeze(0)


class PointErrors(Metric):
    """Errors of joints or vertices as FreiHAND and HO-3D report them, from all distances.

    ``compute`` gives ``mean_mm``, ``median_mm`` (per keypoint over the samples that show it, then
    the mean over keypoints) and ``auc``; :meth:`distances_m` gives the distances. Joints and
    vertices are aligned separately: use one metric for each.
    """

    full_state_update = False
    distances: list[Tensor]
    mirrored: Tensor

    def __init__(
        self, points: int = 21, protocol: str = "pa", reflection: Reflection = "official"
    ) -> None:
        """Compare 21 joints or 778 vertices under a protocol of :data:`PROTOCOLS`."""
        super().__init__()
        # A process without samples sends an empty tensor of this type to the others, which is also
        # why the list holds flat tensors.
        self.set_dtype(torch.float64)
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol={protocol!r}; known: {', '.join(sorted(PROTOCOLS))}")
        self.points = points
        self.protocol = PROTOCOLS[protocol]
        self.reflection = reflection
        self.add_state("distances", [], dist_reduce_fx="cat")
        self.add_state("mirrored", torch.tensor(0), dist_reduce_fx="sum")

    def update(
        self,
        prediction: Float[Tensor, "n p 3"],
        target: Float[Tensor, "n p 3"],
        visible: Bool[Tensor, "n p"] | None = None,
    ) -> None:
        """Add samples, metres; points that are not ``visible`` count in the alignment only."""
        wanted = (len(target), self.points, 3)
        if prediction.shape != wanted or target.shape != wanted:
            raise ValueError(
                f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)}: "
                f"give both as [n, {self.points}, 3]"
            )
        if not (prediction.isfinite().all() and target.isfinite().all()):
            raise ValueError("non-finite points: mark missing ones with `visible`")
        prediction, target = prediction.double(), target.double()
        if self.protocol.align is None:
            aligned = procrustes_align(prediction, target, self.reflection)
        else:
            points = self.protocol.align(prediction, target)
            aligned = Aligned(points, torch.zeros(len(points), dtype=torch.bool))
        self.mirrored += aligned.mirrored.sum().to(self.mirrored)
        distances = point_distances(aligned.points, target)
        if visible is not None:
            distances = distances.masked_fill(~visible, torch.nan)
        self.distances.append(distances.flatten())

    def distances_m(self) -> Float[Tensor, "n p"]:
        """All distances so far, metres, NaN where a point was not visible."""
        return dim_zero_cat(self.distances).unflatten(0, (-1, self.points))

    def compute(self) -> dict[str, Tensor]:
        """``mean_mm``, ``median_mm``, ``auc``."""
        distances = self.distances_m()
        if self.mirrored > 0 and self.reflection == "official":
            warn_mirrored(int(self.mirrored), len(distances))
        thresholds = self.protocol.thresholds_m().to(distances)
        auc = area_under_curve(pck_curve(distances, thresholds), thresholds)
        return {
            "mean_mm": 1000 * distances.nanmean(0).nanmean(),
            "median_mm": 1000 * keypoint_median(distances).nanmean(),
            "auc": auc.nanmean(),
        }
