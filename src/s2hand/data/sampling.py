"""The order of training samples: reshuffled each epoch, and resumable at any batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytorch_lightning as pl
from jaxtyping import Int
from torch.utils.data.distributed import DistributedSampler


class ShuffleSampler(DistributedSampler[int]):
    """A new order of 0..length-1 for each epoch, from the run's current position.

    Without ``groups`` the order is a permutation. With them every group has an equal fraction of
    the epoch, whatever its size: a large group shows some of its samples, a small one repeats them.

    The next sample depends only on ``seed`` and on the number of batches the run has seen. It does
    not depend on Lightning's epoch count, which rises by one when a run stops within an epoch.

    Args:
        length: samples of the dataset.
        batch_size: samples of a batch in this process; an incomplete last batch is left out.
        seen: returns the number of batches the run has seen; called at the start of an iteration.
        seed: seed of the permutations.
        num_replicas: number of processes n that share the samples, each taking every n-th.
        rank: number of this process.
        groups: [length] the group of every sample, 0..g-1, such as its recording.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seen: Callable[[], int],
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
        groups: Int[np.ndarray, " length"] | None = None,
    ) -> None:
        super().__init__(
            range(length),  # type: ignore[arg-type]
            num_replicas,
            rank,
            seed=seed,
            drop_last=True,
        )
        self.length, self.batch_size, self.seen, self.groups = length, batch_size, seen, groups
        self.batches = max(self.num_samples // batch_size, 1)

    def __iter__(self) -> Iterator[int]:
        # The number of batches seen gives the epoch and the position in it.
        epoch, done = divmod(self.seen(), self.batches)
        rng = np.random.default_rng([self.seed, epoch])
        groups = self.groups
        order = rng.permutation(self.length) if groups is None else balanced_order(rng, groups)
        local = order[self.rank : self.total_size : self.num_replicas]
        return iter(local[done * self.batch_size :].tolist())


class InOrderSampler(DistributedSampler[int]):
    """Every n-th of 0..length-1, in order, the same number for each process.

    Processes iterate in step, so those with one sample less end with a repeated sample. Only the
    first :func:`local_count` samples should be measured.

    Args:
        length: samples of the dataset.
        num_replicas: number of processes n that share the samples, each taking every n-th.
        rank: number of this process.
    """

    def __init__(self, length: int, num_replicas: int, rank: int) -> None:
        samples = range(length)
        super().__init__(samples, num_replicas, rank, shuffle=False)  # type: ignore[arg-type]
        self.length = length

    def __iter__(self) -> Iterator[int]:
        return (i % self.length for i in range(self.rank, self.total_size, self.num_replicas))


def local_count(length: int, num_replicas: int, rank: int) -> int:
    """Number of samples that :class:`InOrderSampler` gives to a process, without repeats."""
    return len(range(rank, length, num_replicas))


def balanced_order(
    rng: np.random.Generator, groups: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """n of the samples 0..n-1 with every group equally often, to within one.

    Every round contains each group once, in random order. A group shows its samples in random
    order, and starts a new order when all are shown.
    """
    n, count = len(groups), int(groups.max()) + 1
    rounds = -(-n // count)
    slots = np.concatenate([rng.permutation(count) for _ in range(rounds)])[:n]
    order = np.empty(n, np.int64)
    for group in range(count):
        members, places = np.flatnonzero(groups == group), np.flatnonzero(slots == group)
        passes = -(-len(places) // len(members))
        shown = np.concatenate([rng.permutation(members) for _ in range(max(passes, 1))])
        order[places] = shown[: len(places)]
    return order


def batches_seen(trainer: pl.Trainer) -> int:
    """Number of batches that a run has trained on, including those before it was resumed."""
    return int(trainer.fit_loop.epoch_loop.batch_progress.total.processed)  # type: ignore[attr-defined]


def round_robin(weights: Sequence[int]) -> tuple[int, ...]:
    """A weighted round of ``sum(weights)`` slots: position i appears ``weights[i]`` times, evenly.

    >>> round_robin((1, 2))
    (1, 0, 1)
    """
    # Slot k of position i belongs at the fraction (k + 1/2) / w of the round.
    places = [((k + 0.5) / w, i) for i, w in enumerate(weights) for k in range(w)]
    return tuple(i for _, i in sorted(places))
