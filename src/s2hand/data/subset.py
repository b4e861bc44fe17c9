"""One sequence of a dataset as a dataset, for adaptation to one video."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from s2hand.data.base import HandDataset, content_key
from s2hand.data.wrapped import WrappedDataset
from s2hand.types import HandBatch


class SequenceSubset(WrappedDataset):
    """The frames of one of a dataset's ``segments()``, in order; indices start from 0.

    Args:
        dataset: called to make the whole dataset.
        sequence: index of its segment, from 0.

    Raises:
        ValueError: if there is no such segment.
    """

    def __init__(self, dataset: Callable[[], HandDataset], sequence: int) -> None:
        super().__init__(dataset())
        self.sequence = sequence
        segments = self.dataset.segments()
        if not 0 <= sequence < len(segments):
            raise ValueError(
                f"sequence={sequence}: the dataset has {len(segments)} sequences, counted from 0"
            )
        self.frames = tuple(segments[sequence])

    def __len__(self) -> int:
        """Number of frames of the sequence."""
        return len(self.frames)

    def position(self, index: int) -> int:
        """The index of a frame in the whole dataset."""
        return self.frames[index]

    def __getitem__(self, index: int) -> HandBatch:
        """One frame, t = 1."""
        frame = super().__getitem__(index)
        return replace(frame, index=torch.full_like(frame.index, range(len(self))[index]))

    @property
    def names(self) -> Sequence[str]:
        """The names that the frames have in the whole dataset."""
        return [self.dataset.names[frame] for frame in self.frames]

    @property
    def content_key(self) -> str:
        """Changes with the whole dataset's key and the sequence."""
        return content_key(dataset=self.dataset.content_key, sequence=self.sequence)

    def segments(self) -> list[Sequence[int]]:
        """One run: all frames."""
        return [range(len(self))]
