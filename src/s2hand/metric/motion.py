"""Motion of a hand through a sequence: acceleration error, jitter and constancy of the hand."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric

from s2hand.geometry.procrustes import procrustes_align
from s2hand.geometry.skeleton import bone_lengths

MotionAlignment = Literal["camera", "root", "pa"]


def second_difference(points: Float[Tensor, "b t p 3"]) -> Float[Tensor, "b t-2 p 3"]:
    """x[t] - 2 x[t+1] + x[t+2]: acceleration per frame^2, in the points' unit."""
    return points[:, :-2] - 2 * points[:, 1:-1] + points[:, 2:]


def unbroken_triples(frames: Int[Tensor, "b t"], stride: int = 1) -> Bool[Tensor, "b t-2"]:
    """Where three successive frame numbers are ``stride`` apart: no cut, no missing frame."""
    steps = frames.diff(dim=1) == stride
    return steps[:, :-1] & steps[:, 1:]


class MotionErrors(Metric):
    """Acceleration error and jitter of joints, averaged over each sequence, then over sequences.

    Acceleration error is the mean over triples and joints of ||a(truth) - a(prediction)||, jitter
    the mean of ||a(prediction)||, with a the second difference (Kanazawa et al. 2019, HMMR). Both
    are ``_mm_frame2`` (per step of ``stride`` frames), and with ``fps`` also ``_mm_s2``.
    """

    full_state_update = False
    totals: Tensor
    counts: Tensor

    def __init__(
        self, alignment: MotionAlignment = "camera", fps: float | None = None, stride: int = 1
    ) -> None:
        """Choose the frame of reference.

        Args:
            alignment: ``camera``: none; ``root``: relative to the wrist; ``pa``: each frame
                Procrustes-aligned with its truth, which hides global motion.
            fps: frames per second of the recording.
            stride: frames of the recording from one frame of a sequence to the next.
        """
        super().__init__()
        if alignment not in ("camera", "root", "pa"):
            raise ValueError(f"alignment={alignment!r}: use 'camera', 'root' or 'pa'")
        self.alignment, self.fps, self.stride = alignment, fps, stride
        zeros = torch.zeros(2, dtype=torch.float64)
        self.add_state("totals", zeros, dist_reduce_fx="sum")
        self.add_state("counts", zeros.clone(), dist_reduce_fx="sum")

    def update(
        self,
        prediction: Float[Tensor, "b t 21 3"],
        target: Float[Tensor, "b t 21 3"] | None = None,
        frames: Int[Tensor, "b t"] | None = None,
    ) -> None:
        """Add b whole sequences in metres; overlapping windows would count their frames twice.

        ``frames`` are frame numbers: triples across a cut do not count. Without them each row is
        one unbroken run. Without a target only the jitter is computed.
        """
        if target is None and self.alignment == "pa":
            raise ValueError("alignment='pa' needs the true joints; use 'camera' or 'root'")
        b, t = prediction.shape[:2]
        if frames is None:
            frames = self.stride * torch.arange(t, device=prediction.device).expand(b, t)
        prediction = prediction.double()
        target = None if target is None else target.double()
        if self.alignment == "root":
            prediction = prediction - prediction[:, :, :1]
            target = None if target is None else target - target[:, :, :1]
        elif self.alignment == "pa" and target is not None:
            prediction = procrustes_align(prediction, target).points
        acceleration = second_difference(prediction)
        triples = unbroken_triples(frames, self.stride)
        self._add(1, acceleration, triples)
        if target is not None:
            self._add(0, second_difference(target) - acceleration, triples)

    def _add(self, position: int, difference: Tensor, triples: Tensor) -> None:
        size = torch.linalg.vector_norm(difference, dim=-1).mean(-1)
        count = triples.sum(1)
        means = torch.where(triples, size, 0.0).sum(1) / count
        self.totals[position] += means[count > 0].sum()
        self.counts[position] += (count > 0).sum()

    def compute(self) -> dict[str, Tensor]:
        """``acceleration_error_*`` (with targets) and ``jitter_*``, float64 scalars."""
        result = {}
        for position, name in enumerate(("acceleration_error", "jitter")):
            if self.counts[position] > 0:
                value = 1000 * self.totals[position] / self.counts[position]
                result[f"{name}_mm_frame2"] = value
                if self.fps is not None:
                    result[f"{name}_mm_s2"] = value * (self.fps / self.stride) ** 2
        return result


class SequenceConsistency(Metric):
    """Constancy of the hand: standard deviations over time, averaged over sequences.

    ``shape_sd`` of the 10 betas, ``bone_sd_mm`` of the 20 bone lengths, ``texture_sd`` of the
    vertex colours (0..1). Population deviations; 0 is a perfectly constant hand.
    """

    full_state_update = False
    totals: Tensor
    sequences: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("totals", torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("sequences", torch.tensor(0), dist_reduce_fx="sum")

    def update(
        self,
        joints: Float[Tensor, "b t 21 3"],
        shape: Float[Tensor, "b t 10"],
        texture: Float[Tensor, "b t 778 3"],
    ) -> None:
        """Add b whole sequences of at least two frames; joints in metres."""
        b, t = joints.shape[:2]
        if t < 2:
            raise ValueError(f"a sequence of {t} frame has no deviation over time: give 2 or more")
        series = (shape, 1000 * bone_lengths(joints), texture)
        for position, values in enumerate(series):
            deviation = values.double().std(dim=1, correction=0)
            self.totals[position] += deviation.flatten(1).mean(1).sum()
        self.sequences += b

    def compute(self) -> dict[str, Tensor]:
        """``shape_sd``, ``bone_sd_mm``, ``texture_sd``, float64 scalars, or nothing."""
        if self.sequences == 0:
            return {}
        names = ("shape_sd", "bone_sd_mm", "texture_sd")
        return dict(zip(names, self.totals / self.sequences, strict=True))
