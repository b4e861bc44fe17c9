"""The order of training samples: shuffled anew each epoch, resumable within one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class ShuffleSampler(Sampler[int]):
    """A permutation of 0..length-1 that depends on (seed, epoch) alone.

    Lightning tells the epoch by :meth:`set_epoch`. After a resume, :meth:`skip` leaves out what the
    interrupted epoch had already seen, so the run goes on as if it had never stopped.
    """

    def __init__(self, length: int, seed: int = 0) -> None:
        self.length, self.seed = length, seed
        self.epoch = 0
        self._skip = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the permutation."""
        self.epoch = epoch

    def skip(self, samples: int) -> None:
        """Leave out the first ``samples`` of the next iteration only."""
        self._skip = samples

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        start, self._skip = self._skip, 0
        return iter(order[start:].tolist())

    def __len__(self) -> int:
        return self.length
