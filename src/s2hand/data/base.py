"""What every dataset of the package is: frames with 2D detections, in a known order."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch.utils.data import Dataset

from s2hand.types import HandBatch, Labels


class HandDataset(Dataset[HandBatch], ABC):
    """Frames of right hands, each with its 2D detections and camera.

    A sample is a :class:`HandBatch` without the batch dimension, one frame long: every field has
    the leading dimension t = 1 and ``index`` is the position in this dataset. Samples join with
    ``HandBatch.stack``; windows of several frames are made by :mod:`s2hand.data.windows`.
    """

    needs_hand: ClassVar[bool] = False
    """Takes the run's hand layer as the constructor's ``hand``, which no configuration names."""
    fps: float | None = None
    """Frames per second of the recordings, where it is known."""
    convention: str | None = None
    """Which points its joints are, by name (:data:`s2hand.geometry.skeleton.JOINT_CONVENTIONS`)."""
    leaderboard: str | None = None
    """Whose ``pred.json`` predictions of these frames make: ``freihand`` or ``ho3d``."""
    protocol: str | None = None
    """How its benchmark measures, by name (:data:`s2hand.metric.protocols.BENCHMARKS`)."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of frames."""

    @abstractmethod
    def __getitem__(self, index: int) -> HandBatch:
        """One frame, t = 1; the same index gives the same frame in any process."""

    def labels_of(self, index: int) -> Labels | None:
        """The labels of a frame, t = 1, if they were asked for; without its pixels if possible."""
        return self[index].labels

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """A name per frame, unique within the dataset: ``recording/frame`` where there are some."""

    @property
    @abstractmethod
    def content_key(self) -> str:
        """A key that changes when the frames change; caches made from the frames carry it."""

    def segments(self) -> list[Sequence[int]]:
        """Runs of indices that are consecutive frames of one sequence; by default none is.

        Every index belongs to one run at most. A missing frame or a change of sequence ends a run,
        so a window taken within a run never crosses a cut.
        """
        return [(index,) for index in range(len(self))]

    def recording(self, index: int) -> str:
        """Which recording a frame is of: its name up to the last slash."""
        return self.names[index].rpartition("/")[0]

    def detection_name(self, index: int) -> str:
        """What the row of a frame is called in files of detections."""
        return self.names[index]

    def is_left(self, index: int) -> bool:
        """Whether a frame shows a left hand, which is served mirrored."""
        return False

    def prepare(self) -> None:
        """Do once what is slow, such as writing a cache; called before any worker starts."""


def content_key(**parts: object) -> str:
    """16 hex digits that identify the named parts (numbers, strings and lists of them)."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
