"""Summary statistics of a predicted track."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from rich.table import Table

from s2hand.data.frames.dataset import FramesDataset
from s2hand.fitting.fusion import Span
from s2hand.metric.hands import CONFIDENT
from s2hand.metric.motion import MotionErrors


@dataclass(frozen=True)
class TrackSummary:
    """Statistics of a track; None where it is too short, or no keypoint is confident.

    2D errors are those of :func:`confident_errors`, in pixels of the 224 crop. Jitter is the mean
    second difference of joints relative to the wrist, per step of the track, within runs of frames
    without a gap; ``_s2`` is the same in seconds, at the track's mean frame rate.
    """

    frames: int
    """Frames with a hand."""
    gaps: int
    missing_frames: int
    """Frames in the gaps."""
    error_2d_mean_px: float | None
    error_2d_median_px: float | None
    jitter_mm_frame2: float | None
    jitter_mm_s2: float | None

    @classmethod
    def read(cls, path: Path) -> TrackSummary:
        """Read the JSON of the fields."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def table(self) -> Table:
        """The table that a command prints at its end."""

        def text(value: float | None, unit: str) -> str:
            return "-" if value is None else f"{value:.2f} {unit}"

        table = Table("track", "")
        table.columns[1].justify = "right"
        table.add_row("frames with a hand", str(self.frames))
        table.add_row("gaps", f"{self.gaps} ({counted(self.missing_frames, 'frame')})")
        table.add_row("2D error, mean", text(self.error_2d_mean_px, "px of 224"))
        table.add_row("2D error, median", text(self.error_2d_median_px, "px of 224"))
        table.add_row("jitter, root-relative", text(self.jitter_mm_frame2, "mm/frame²"))
        return table


def confident_errors(
    dataset: FramesDataset, span: Span, errors: Float[np.ndarray, "n 21"]
) -> Float[np.ndarray, " k"]:
    """The 2D distances to keypoints with confidence above 0.5, of all frames of a track together.

    Commands, pages and the track's file (``error_2d_confident_px``) report this 2D error.
    """
    return errors[dataset.confidence[span.rows].numpy() > CONFIDENT]


def counted(count: int, what: str) -> str:
    """A number and its noun.

    Example:
        >>> counted(1, "frame"), counted(2, "frame")
        ('1 frame', '2 frames')
    """
    return f"{count} {what}{'' if count == 1 else 's'}"


def summarise(
    dataset: FramesDataset,
    span: Span,
    joints: Float[np.ndarray, "n 21 3"],
    errors: Float[np.ndarray, "n 21"],
) -> TrackSummary:
    """Summarise a track from joints in metres and 2D distances in pixels of the crop."""
    confident = confident_errors(dataset, span, errors)
    motion = MotionErrors("root", fps=span.fps, stride=dataset.every)
    motion.update(torch.from_numpy(joints)[None], frames=torch.from_numpy(span.numbers)[None])
    jitter = motion.compute()
    return TrackSummary(
        frames=len(span.rows),
        gaps=len(span.gaps),
        missing_frames=span.missing,
        error_2d_mean_px=float(confident.mean()) if len(confident) else None,
        error_2d_median_px=float(np.median(confident)) if len(confident) else None,
        jitter_mm_frame2=_number(jitter.get("jitter_mm_frame2")),
        jitter_mm_s2=_number(jitter.get("jitter_mm_s2")),
    )


def _number(value: torch.Tensor | None) -> float | None:
    return None if value is None else float(value)
