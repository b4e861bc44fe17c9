"""The base class of all datasets: frames with 2D detections, in a fixed order."""

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

    A sample is a :class:`HandBatch` of one frame, without the batch dimension: every field has
    the leading dimension t = 1, and ``index`` is the position in this dataset. Samples are joined
    by ``HandBatch.stack``; :mod:`s2hand.data.windows` makes windows of several frames.
    """

    needs_hand: ClassVar[bool] = False
    """Whether the constructor takes the run's hand layer as ``hand`` (not configured)."""
    fps: float | None = None
    """Frames per second of the recordings, where known."""
    convention: str | None = None
    """Name of the joint convention (:data:`s2hand.geometry.skeleton.JOINT_CONVENTIONS`)."""
    leaderboard: str | None = None
    """The leaderboard whose ``pred.json`` fits these frames: ``freihand`` or ``ho3d``."""
    protocol: str | None = None
    """Name of its benchmark's protocol (:data:`s2hand.metric.protocols.BENCHMARKS`)."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of frames."""

    @abstractmethod
    def __getitem__(self, index: int) -> HandBatch:
        """One frame, t = 1; the same index gives the same frame in any process."""

    def labels_of(self, index: int) -> Labels | None:
        """The labels of a frame, t = 1, if requested; read without its pixels if possible."""
        return self[index].labels

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """A name per frame, unique within the dataset: ``recording/frame`` if it has recordings."""

    @property
    @abstractmethod
    def content_key(self) -> str:
        """A key that changes when the frames change; part of the name of caches made from them."""

    def segments(self) -> list[Sequence[int]]:
        """Runs of indices that are consecutive frames of one sequence; by default single frames.

        Every index belongs to at most one run. A missing frame or a change of sequence ends a run,
        so a window taken within a run never crosses a cut.
        """
        return [(index,) for index in range(len(self))]

    def recording(self, index: int) -> str:
        """The recording of a frame: its name up to the last slash."""
        return self.names[index].rpartition("/")[0]

    def detection_name(self, index: int) -> str:
        """The name of a frame's row in files of detections."""
        return self.names[index]

    def is_left(self, index: int) -> bool:
        """Whether a frame shows a left hand, which is returned mirrored."""
        return False

    def prepare(self) -> None:
        """Do slow work once, such as writing a cache; called before any worker starts."""


def content_key(**parts: object) -> str:
    """16 hex digits that identify the named parts (numbers, strings and lists of them)."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
