"""Metrics of hands for validation and evaluation."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from s2hand.geometry.procrustes import (
    procrustes_align,
    root_align,
    scale_translation_align,
    warn_mirrored,
)
from s2hand.geometry.skeleton import JOINT_NAMES
from s2hand.metric.fscore import f_scores
from s2hand.metric.joints import PROTOCOLS, area_under_curve, point_distances
from s2hand.types import HandBatch, Labels, Prediction

NAMES = (
    "pa_mpjpe_mm",
    "pa_mpvpe_mm",
    "rr_mpjpe_mm",
    "st_mpjpe_mm",
    "auc_pa_50mm",
    "f5",
    "f15",
    "f5_pa",
    "f15_pa",
    "error_2d_px",
    "error_2d_confident_px",
)
"""PA: Procrustes-aligned, joints and vertices separately. RR: wrists aligned, nothing else. ST:
HO-3D's scale-translation alignment, by the wrist and the middle finger's base. MPJPE and MPVPE:
mean distance of joints, of vertices. AUC: area under PCK of the PA joints, 0 to 50 mm. F: fraction
of the surface within 5 or 15 mm, in camera space and PA. The 2D errors are against the detections,
over keypoints with confidence above 0 and above :data:`CONFIDENT`."""

CONFIDENT = 0.5
"""Keypoints with more confidence count as seen in all reported 2D errors."""


class HandMetrics(Metric):
    """Means over all frames, kept as a sum and a count per name: exact for any split of data.

    ``compute`` leaves out names without any truth (no labels, NaN vertices, nothing detected).
    Frames whose joint labels are not finite count as unlabelled, including their vertices.
    """

    full_state_update = False
    totals: Tensor
    counts: Tensor
    mirrored: Tensor
    joint_sums: Tensor
    joint_errors_mm: Float[Tensor, "21 2"] | None
    """Mean and standard deviation over frames of each joint's PA error, from the last ``compute``
    (over all processes); None if no joint was labelled."""

    def __init__(self, mesh: bool = True) -> None:
        """``mesh=False`` leaves out the F-scores, which take twenty times as long as all else."""
        super().__init__()
        self.mesh = mesh
        self._warned = False
        zeros = torch.zeros(len(NAMES), dtype=torch.float64)
        self.add_state("totals", zeros, dist_reduce_fx="sum")
        self.add_state("counts", zeros.clone(), dist_reduce_fx="sum")
        self.add_state("mirrored", torch.tensor(0), dist_reduce_fx="sum")
        sums = torch.zeros(len(JOINT_NAMES), 2, dtype=torch.float64)
        self.add_state("joint_sums", sums, dist_reduce_fx="sum")  # of errors and of their squares
        self.joint_errors_mm = None

    def update(self, prediction: Prediction, batch: HandBatch) -> None:
        """Add the frames of a batch; metres in camera space, 2D in pixels of the crop.

        Raises:
            ValueError: if a prediction is not finite, naming the frames.
        """
        finite = prediction.hand.vertices.isfinite().flatten(2).all(-1)
        finite &= prediction.hand.joints.isfinite().flatten(2).all(-1)
        if not finite.all():
            frames = batch.index[~finite].tolist()
            raise ValueError(f"predictions of frames {frames[:8]} are not finite")
        self._add_2d(prediction, batch)
        if batch.labels is not None:
            self._add_joints(prediction, batch.labels)
            self._add_vertices(prediction, batch.labels)

    def _add(self, name: str, values: Tensor) -> None:
        self.totals[NAMES.index(name)] += values.double().sum()
        self.counts[NAMES.index(name)] += values.numel()

    def _add_2d(self, prediction: Prediction, batch: HandBatch) -> None:
        errors = point_distances(prediction.joints_2d, batch.keypoints)
        self._add("error_2d_px", errors[batch.confidence > 0])
        self._add("error_2d_confident_px", errors[batch.confidence > CONFIDENT])

    def _add_joints(self, prediction: Prediction, labels: Labels) -> None:
        predicted, true = _labelled(prediction.hand.joints, labels.joints)
        aligned = procrustes_align(predicted, true)
        self.mirrored += aligned.mirrored.sum()
        distances = point_distances(aligned.points, true)
        thresholds = PROTOCOLS["pa"].thresholds_m().to(distances)
        within = (distances <= thresholds[:, None, None]).double()
        errors_mm = 1000 * distances
        self._add("pa_mpjpe_mm", errors_mm)
        self.joint_sums += torch.stack([errors_mm.sum(0), errors_mm.square().sum(0)], 1)
        self._add("rr_mpjpe_mm", 1000 * point_distances(root_align(predicted, true), true))
        scaled = scale_translation_align(predicted, true)
        self._add("st_mpjpe_mm", 1000 * point_distances(scaled, true))
        # Frames have all joints, so the mean of the areas is the area of the mean curve.
        self._add("auc_pa_50mm", area_under_curve(within, thresholds))

    def _add_vertices(self, prediction: Prediction, labels: Labels) -> None:
        # Without joint labels neither position nor size of a mesh is known.
        whole = labels.joints.isfinite().flatten(2).all(-1)[..., None, None]
        known = torch.where(whole, labels.vertices, torch.nan)
        predicted, true = _labelled(prediction.hand.vertices, known)
        aligned = procrustes_align(predicted, true).points
        self._add("pa_mpvpe_mm", 1000 * point_distances(aligned, true))
        if self.mesh:
            for suffix, points in (("", predicted), ("_pa", aligned)):
                for name, scores in zip(("f5", "f15"), f_scores(points, true).T, strict=True):
                    self._add(name + suffix, scores)

    def compute(self) -> dict[str, Tensor]:
        """The means of the names in :data:`NAMES` that have truth, float64 scalars."""
        frames = int(self.counts[NAMES.index("pa_mpjpe_mm")]) // len(JOINT_NAMES)
        if self.mirrored > 0 and not self._warned:
            self._warned = True
            warn_mirrored(int(self.mirrored), frames)
        self.joint_errors_mm = None
        if frames:
            mean, square = (self.joint_sums / frames).unbind(1)
            sd = (square - mean.square()).clamp_min(0).sqrt()
            self.joint_errors_mm = torch.stack([mean, sd], 1)
        means = zip(NAMES, self.totals, self.counts, strict=True)
        return {name: total / count for name, total, count in means if count > 0}

    def joint_table(self) -> list[dict[str, Any]]:
        """:attr:`joint_errors_mm` as rows of ``joint``, ``pa_mm``, ``sd_mm``; [] without labels."""
        errors = [] if self.joint_errors_mm is None else self.joint_errors_mm.tolist()
        return [
            {"joint": name, "pa_mm": mean, "sd_mm": sd}
            for name, (mean, sd) in zip(JOINT_NAMES, errors, strict=bool(errors))
        ]


def _labelled(
    predicted: Float[Tensor, "b t p 3"], true: Float[Tensor, "b t p 3"]
) -> tuple[Float[Tensor, "n p 3"], Float[Tensor, "n p 3"]]:
    """The frames whose labels are finite, in float64."""
    kept = true.isfinite().flatten(2).all(-1)
    return predicted[kept].double(), true[kept].double()
