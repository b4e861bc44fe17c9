"""Windows: runs of frames of one sequence, never across a cut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from s2hand.data.base import HandDataset
from s2hand.types import HandBatch
from s2hand.window import Window


class WindowedDataset(Dataset[HandBatch]):
    """Every window that lies within one of a dataset's segments, [t, ...] without batch dimension.

    Windows start ``window.step`` frames apart, at the first frame of each segment. Segments shorter
    than a window give none. ``recordings`` [m] is the number of each window's recording.

    Raises:
        ValueError: if no segment is long enough, naming the lengths.
    """

    def __init__(self, dataset: HandDataset, window: Window) -> None:
        self.dataset, self.window = dataset, window
        segments = dataset.segments()
        self.frames = _windows(segments, window)
        if len(self.frames) == 0:
            longest = max(map(len, segments), default=0)
            raise ValueError(
                f"a window of {window.frames} frames, {window.stride} apart, spans {window.span} "
                f"frames; the longest of the {len(segments)} runs of consecutive frames has "
                f"{longest}: take fewer frames or a smaller stride; for single frames set "
                "window=image and leave the temporal terms out of `loss`, or for one part of "
                "data=mixed data.parts.<name>.data.window=null"
            )
        # Sampling is balanced over recordings, so each window needs its number.
        names = [dataset.recording(int(first)) for first in self.frames[:, 0]]
        self.recordings = np.unique(names, return_inverse=True)[1]

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.frames)

    def __getitem__(self, index: int) -> HandBatch:
        """The frames of one window joined along time."""
        return HandBatch.cat([self.dataset[frame] for frame in self.frames[index].tolist()])


def _windows(segments: list[Sequence[int]], window: Window) -> np.ndarray:
    """[m, frames] indices of the frames of every window."""
    offsets = np.arange(window.frames) * window.stride
    runs = [
        np.asarray(segment)[
            np.arange(0, len(segment) - window.span + 1, window.step)[:, None] + offsets
        ]
        for segment in segments
        if len(segment) >= window.span
    ]
    return np.concatenate(runs) if runs else np.empty((0, window.frames), np.int64)
