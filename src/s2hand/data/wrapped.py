"""The base of datasets made from another dataset."""

from __future__ import annotations

from collections.abc import Sequence

from s2hand.data.base import HandDataset
from s2hand.types import HandBatch, Labels


class WrappedDataset(HandDataset):
    """A dataset that forwards everything to the dataset it wraps.

    A subclass overrides only what it changes. One with other frames, or another order, overrides
    :meth:`__len__`, :meth:`position` and :meth:`segments`.

    Args:
        dataset: the wrapped dataset.
    """

    def __init__(self, dataset: HandDataset) -> None:
        self.dataset = dataset
        self.fps, self.convention = dataset.fps, dataset.convention
        self.leaderboard, self.protocol = dataset.leaderboard, dataset.protocol

    def position(self, index: int) -> int:
        """The index of a frame in the wrapped dataset.

        Raises:
            IndexError: beyond the last frame.
        """
        return range(len(self))[index]

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> HandBatch:
        """One frame, t = 1."""
        return self.dataset[self.position(index)]

    def labels_of(self, index: int) -> Labels | None:
        """The wrapped dataset's labels of the frame."""
        return self.dataset.labels_of(self.position(index))

    @property
    def names(self) -> Sequence[str]:
        """The wrapped dataset's names of the frames."""
        return self.dataset.names

    @property
    def content_key(self) -> str:
        """The key of the wrapped dataset."""
        return self.dataset.content_key

    def segments(self) -> list[Sequence[int]]:
        """The runs of the wrapped dataset."""
        return self.dataset.segments()

    def recording(self, index: int) -> str:
        """The wrapped dataset's recording of the frame."""
        return self.dataset.recording(self.position(index))

    def detection_name(self, index: int) -> str:
        """The wrapped dataset's name of the frame in files of detections."""
        return self.dataset.detection_name(self.position(index))

    def is_left(self, index: int) -> bool:
        """Whether the wrapped dataset's frame shows a left hand."""
        return self.dataset.is_left(self.position(index))

    def prepare(self) -> None:
        """Prepare the wrapped dataset."""
        self.dataset.prepare()
