"""Video metrics for validation and evaluation, from frames in any order and batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from s2hand.geometry.procrustes import procrustes_align
from s2hand.metric.joints import point_distances
from s2hand.metric.motion import MotionAlignment, MotionErrors, SequenceConsistency
from s2hand.types import HandBatch, Prediction

MOTION: dict[str, MotionAlignment] = {
    "acceleration_error_pa": "pa",
    "acceleration_error_root": "root",
    "jitter_root": "root",
    "jitter_camera": "camera",
    "true_jitter_root": "root",
}
"""Motion metrics and their alignment. ``true_jitter_root`` is the jitter of the labels: a
static prediction has about this acceleration error, so compare it with the position errors too."""
UNITS = ("mm_frame2", "mm_s2")
_SHORTEST = 3
_PARTS = {"index": 1, "joints": 63, "truth": 63, "shape": 10, "texture": 2334}


@dataclass(frozen=True)
class SequenceResult:
    """The metrics of one unbroken run of frames."""

    first: int
    """Index of its first frame in the dataset."""
    frames: int
    """Number of its frames that were added."""
    pa_mpjpe_mm: float | None
    """None without labels."""
    values: dict[str, Tensor]
    """The metrics of :meth:`SequenceMetrics.compute` that this run has."""


class SequenceMetrics(Metric):
    """Motion errors and consistency over the unbroken runs of frames of a dataset.

    ``segments`` (successive frames) and ``fps`` must be set before ``compute``. Runs of fewer than
    three frames do not count, and frames without finite labels break the runs for metrics that
    read labels.

    Each frame is kept until ``reset``: 10 kB on the metric's device, nine tenths of it texture
    (10 000 frames: 0.1 GB). With several processes, each one gathers all frames.
    """

    full_state_update = False
    rows: list[Tensor]
    results: list[SequenceResult]
    """One for each run, from the last ``compute``."""

    def __init__(self) -> None:
        super().__init__()
        self.segments: Sequence[Sequence[int]] = ()
        self.fps: float | None = None
        self.results = []
        # Flat float32 (exact for indices below 2^24), like the tensor of a process without frames.
        self.add_state("rows", [], dist_reduce_fx="cat")

    def update(self, prediction: Prediction, batch: HandBatch) -> None:
        """Keep joints, betas and texture of each frame."""
        hand = prediction.hand
        truth = torch.nan * hand.joints if batch.labels is None else batch.labels.joints
        parts = (batch.index, hand.joints, truth, hand.code.shape, hand.code.texture)
        n = batch.index.numel()
        self.rows.append(torch.cat([part.float().reshape(n, -1) for part in parts], 1).flatten())

    def compute(self) -> dict[str, Tensor]:
        """All metrics that the frames determine, float64 scalars: ``<name>_<unit>``.

        The names are those of :data:`MOTION`, in mm/frame^2 and with a frame rate in mm/s^2, and
        those of :class:`SequenceConsistency`; each is the mean over the runs that have it. The
        single runs are stored in :attr:`results`.
        """
        index, frames = self._frames()
        self.results = []
        for segment in self.segments:
            numbers = np.flatnonzero(np.isin(segment, index))
            if len(numbers) >= _SHORTEST:
                indices = np.asarray(segment)[numbers]
                rows = frames[np.searchsorted(index, indices)][None]
                self.results.append(_measure(rows, indices, numbers, self.fps))
        names = dict.fromkeys(name for result in self.results for name in result.values)
        found = {n: [r.values[n] for r in self.results if n in r.values] for n in names}
        return {name: torch.stack(values).mean() for name, values in found.items()}

    def table(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """:attr:`results` as rows; ``names`` are those of the dataset's frames."""
        return [
            {
                "sequence": names[result.first].rpartition("/")[0] or names[result.first],
                "first": names[result.first],
                "frames": result.frames,
                "pa_mpjpe_mm": result.pa_mpjpe_mm,
                **{name: float(value) for name, value in result.values.items()},
            }
            for result in self.results
        ]

    def _frames(self) -> tuple[Int[np.ndarray, " n"], Float[Tensor, "n d"]]:
        """Sorted, unique indices of the frames, and their rows."""
        width = sum(_PARTS.values())
        rows = dim_zero_cat(self.rows).cpu() if len(self.rows) else torch.empty(0)
        rows = rows.view(-1, width)
        index, first = np.unique(rows[:, 0].numpy().astype(np.int64), return_index=True)
        return index, rows[first, 1:]


def _measure(
    rows: Float[Tensor, "1 t d"],
    indices: Int[np.ndarray, " t"],
    numbers: Int[np.ndarray, " t"],
    fps: float | None,
) -> SequenceResult:
    """One run of frames; ``numbers`` are positions within it, so a missing frame is a cut."""
    joints, truth, shape, texture = rows.split(list(_PARTS.values())[1:], 2)
    joints, truth = joints.unflatten(2, (21, 3)), truth.unflatten(2, (21, 3))
    motion = {name: MotionErrors(how, fps) for name, how in MOTION.items()}
    pa_mm = _add_motion(motion, joints, truth, torch.from_numpy(numbers)[None])
    consistency = SequenceConsistency()
    consistency.update(joints, shape, texture.unflatten(2, (778, 3)))
    found: dict[str, Tensor] = {}
    for name, metric in motion.items():
        kind = "acceleration_error" if name.startswith("acceleration") else "jitter"
        values = metric.compute() if metric.update_called else {}
        found |= {f"{name}_{u}": values[f"{kind}_{u}"] for u in UNITS if f"{kind}_{u}" in values}
    return SequenceResult(int(indices[0]), len(indices), pa_mm, found | consistency.compute())


def _add_motion(
    metrics: dict[str, MotionErrors],
    joints: Float[Tensor, "1 t 21 3"],
    truth: Float[Tensor, "1 t 21 3"],
    numbers: Int[Tensor, "1 t"],
) -> float | None:
    """Add one run; returns its PA-MPJPE in mm if it has labels."""
    metrics["jitter_camera"].update(joints, frames=numbers)
    metrics["jitter_root"].update(joints, frames=numbers)
    known = truth.isfinite().flatten(2).all(-1)[0]
    if not known.any():
        return None
    joints, truth, numbers = joints[:, known], truth[:, known], numbers[:, known]
    metrics["true_jitter_root"].update(truth, frames=numbers)
    metrics["acceleration_error_pa"].update(joints, truth, numbers)
    metrics["acceleration_error_root"].update(joints, truth, numbers)
    joints, truth = joints.double(), truth.double()
    aligned = procrustes_align(joints, truth).points
    return float(1000 * point_distances(aligned, truth).mean())
