"""The order of training samples: shuffled anew each epoch, and resumable anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytorch_lightning as pl
from jaxtyping import Int
from torch.utils.data.distributed import DistributedSampler


class ShuffleSampler(DistributedSampler[int]):
    """Each epoch a new order of 0..length-1, entered where the run stands.

    Without ``groups`` it is a permutation. With them every group has an equal share of the epoch,
    however many samples it holds: a large group shows some, a small one repeats its own.

    What comes next depends on ``seed`` and on how many batches the run has seen, and on nothing
    else: not on Lightning's count of epochs, which a run that stopped within one raises by one.

    Args:
        length: samples of the dataset.
        batch_size: of this process; an epoch's last incomplete batch is left out.
        seen: how many batches the run has seen; asked at the start of every iteration.
        seed: of the permutations.
        num_replicas: processes that share the samples, each taking every n-th.
        rank: which of them this is.
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
        epoch, done = divmod(self.seen(), self.batches)
        rng = np.random.default_rng([self.seed, epoch])
        groups = self.groups
        order = rng.permutation(self.length) if groups is None else balanced_order(rng, groups)
        own = order[self.rank : self.total_size : self.num_replicas]
        return iter(own[done * self.batch_size :].tolist())


class InOrderSampler(DistributedSampler[int]):
    """Every n-th of 0..length-1, in order, to as many for each process.

    Processes go through batches in step, so those that have one sample less end with a repeat;
    :func:`own_share` says how many samples come before it, and only these should be measured.

    Args:
        length: samples of the dataset.
        num_replicas: processes that share the samples, each taking every n-th.
        rank: which of them this is.
    """

    def __init__(self, length: int, num_replicas: int, rank: int) -> None:
        samples = range(length)
        super().__init__(samples, num_replicas, rank, shuffle=False)  # type: ignore[arg-type]
        self.length = length

    def __iter__(self) -> Iterator[int]:
        return (i % self.length for i in range(self.rank, self.total_size, self.num_replicas))


def own_share(length: int, num_replicas: int, rank: int) -> int:
    """How many of 0..length-1 :class:`InOrderSampler` gives to a process, repeats not counted."""
    return len(range(rank, length, num_replicas))


def balanced_order(
    rng: np.random.Generator, groups: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """n of the samples 0..n-1 in which every group appears equally often, give or take one.

    The groups take turns in an order drawn anew for each round; each goes through its samples in
    random order, and begins anew when it has shown all.
    """
    n, count = len(groups), int(groups.max()) + 1
    rounds = -(-n // count)
    turns = np.concatenate([rng.permutation(count) for _ in range(rounds)])[:n]
    order = np.empty(n, np.int64)
    for group in range(count):
        members, places = np.flatnonzero(groups == group), np.flatnonzero(turns == group)
        passes = -(-len(places) // len(members))
        shown = np.concatenate([rng.permutation(members) for _ in range(max(passes, 1))])
        order[places] = shown[: len(places)]
    return order


def batches_seen(trainer: pl.Trainer) -> int:
    """Batches that a run has trained on, before it was resumed and since."""
    return int(trainer.fit_loop.epoch_loop.batch_progress.total.processed)  # type: ignore[attr-defined]


def turns(weights: Sequence[int]) -> tuple[int, ...]:
    """Who of several is next in a round of ``sum(weights)`` turns, each as often as it weighs.

    The turns of each lie evenly in the round: weights (1, 2) give (1, 0, 1).
    """
    places = [((k + 0.5) / w, i) for i, w in enumerate(weights) for k in range(w)]
    return tuple(i for _, i in sorted(places))
