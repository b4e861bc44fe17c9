"""The order of training samples: shuffled anew each epoch, and resumable anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytorch_lightning as pl
from torch.utils.data.distributed import DistributedSampler


class ShuffleSampler(DistributedSampler[int]):
    """Each epoch a permutation of 0..length-1, entered where the run stands.

    What comes next depends on ``seed`` and on how many batches the run has seen, and on nothing
    else: not on Lightning's count of epochs, which a run that stopped within one raises by one.

    Args:
        length: samples of the dataset.
        batch_size: of this process; an epoch's last incomplete batch is left out.
        seen: how many batches the run has seen; asked at the start of every iteration.
        seed: of the permutations.
        num_replicas: processes that share the samples, each taking every n-th.
        rank: which of them this is.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seen: Callable[[], int],
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        super().__init__(
            range(length),  # type: ignore[arg-type]
            num_replicas,
            rank,
            seed=seed,
            drop_last=True,
        )
        self.length, self.batch_size, self.seen = length, batch_size, seen
        self.batches = max(self.num_samples // batch_size, 1)

    def __iter__(self) -> Iterator[int]:
        epoch, done = divmod(self.seen(), self.batches)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
        own = order[self.rank : self.total_size : self.num_replicas]
        return iter(own[done * self.batch_size :].tolist())


def batches_seen(trainer: pl.Trainer) -> int:
    """Batches that a run has trained on, before it was resumed and since."""
    return int(trainer.fit_loop.epoch_loop.batch_progress.total.processed)  # type: ignore[attr-defined]
