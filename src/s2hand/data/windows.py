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

    Windows overlap: one begins at every frame that has enough successors. Segments shorter than a
    window give none.

    Raises:
        ValueError: if no segment is long enough, naming the lengths.
    """

    def __init__(self, dataset: HandDataset, window: Window) -> None:
        self.dataset, self.window = dataset, window
        segments = dataset.segments()
        self.segment_ids, self.frames = _windows(segments, window)
        if len(self.frames) == 0:
            longest = max(map(len, segments), default=0)
            raise ValueError(
                f"a window of {window.frames} frames, {window.stride} apart, spans {window.span} "
                f"frames; the longest of the {len(segments)} runs of consecutive frames has "
                f"{longest}: take fewer frames or a smaller stride"
            )

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.frames)

    def __getitem__(self, index: int) -> HandBatch:
        """The frames of one window joined along time."""
        return HandBatch.cat([self.dataset[frame] for frame in self.frames[index].tolist()])


def _windows(segments: list[Sequence[int]], window: Window) -> tuple[np.ndarray, np.ndarray]:
    """[m] segment of each window and [m, frames] indices of its frames."""
    offsets = np.arange(window.frames) * window.stride
    counts = [max(len(segment) - window.span + 1, 0) for segment in segments]
    runs = [
        np.asarray(segment)[np.arange(count)[:, None] + offsets]
        for segment, count in zip(segments, counts, strict=True)
        if count
    ]
    frames = np.concatenate(runs) if runs else np.empty((0, window.frames), np.int64)
    return np.repeat(np.arange(len(segments)), counts), frames
