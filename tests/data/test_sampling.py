"""The order of samples: a function of the seed and of the number of batches seen."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import BatchSampler

from s2hand.data.sampling import ShuffleSampler, balanced_order


class Run:
    """A run of a number of processes in step, as Lightning iterates a loader."""

    def __init__(self, length: int, size: int, seed: int = 0, processes: int = 1) -> None:
        self.length, self.size, self.seed, self.processes = length, size, seed, processes

    def batches(self, first: int, count: int) -> list[list[list[int]]]:
        """[process][batch] of ``count`` batches from the ``first`` on."""
        return [self._process(rank, first, count) for rank in range(self.processes)]

    def _process(self, rank: int, first: int, count: int) -> list[list[int]]:
        found: list[list[int]] = []
        sampler = ShuffleSampler(
            self.length, self.size, lambda: first + len(found), self.seed, self.processes, rank
        )
        while len(found) < count:
            epoch = list(BatchSampler(sampler, self.size, drop_last=len(sampler) >= self.size))
            assert epoch, "an epoch has a batch"
            found += epoch
        return found[:count]


runs = st.builds(
    Run,
    length=st.integers(1, 40),
    size=st.integers(1, 9),
    seed=st.integers(0, 5),
    processes=st.just(1),
)


@given(run=runs, first=st.integers(0, 30))
def test_resuming_anywhere_continues_as_if_never_stopped(run: Run, first: int) -> None:
    assert run.batches(first, 10) == [run.batches(0, first + 10)[0][first:]]


@given(run=runs)
def test_an_epoch_visits_no_sample_twice_and_leaves_out_less_than_a_batch(run: Run) -> None:
    per_epoch = max(run.length // run.size, 1)
    for epoch in range(3):
        seen = list(itertools.chain(*run.batches(epoch * per_epoch, per_epoch)[0]))
        assert len(set(seen)) == len(seen) >= run.length - run.size + 1
        assert set(seen) <= set(range(run.length))


@given(length=st.integers(8, 40), size=st.integers(1, 3), processes=st.integers(2, 4))
def test_processes_share_the_samples_in_step(length: int, size: int, processes: int) -> None:
    run = Run(length, size, processes=processes)
    per_epoch = max(length // processes // size, 1)
    parts = run.batches(0, per_epoch)
    seen = [index for part in parts for batch in part for index in batch]
    assert len(set(seen)) == len(seen)
    assert {len(part) for part in parts} == {per_epoch}
    resumed = run.batches(2, per_epoch)
    assert resumed == [part[2:] for part in run.batches(0, per_epoch + 2)]


def test_epochs_and_seeds_differ_and_do_not_repeat_each_other() -> None:
    def epoch(number: int, seed: int) -> tuple[int, ...]:
        return tuple(ShuffleSampler(50, 50, lambda: number, seed))

    orders = {epoch(number, seed) for number in range(4) for seed in range(4)}
    assert len(orders) == 16
    assert epoch(2, 3) == epoch(2, 3)


@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=6), seed=st.integers(0, 9))
def test_every_group_has_an_equal_fraction(sizes: list[int], seed: int) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    order = balanced_order(np.random.default_rng(seed), groups)
    assert len(order) == len(groups)
    shares = np.bincount(groups[order], minlength=len(sizes))
    assert shares.max() - shares.min() <= 1
    for group, size in enumerate(sizes):  # nothing comes again before all of its group was shown
        shown = order[groups[order] == group]
        for start in range(0, len(shown), size):
            assert len(set(shown[start : start + size])) == len(shown[start : start + size])


def test_a_sampler_of_groups_is_balanced_resumable_and_shared_by_processes() -> None:
    groups = np.array([0] * 17 + [1] * 3)
    first = list(ShuffleSampler(20, 4, lambda: 0, groups=groups))
    assert np.bincount(groups[first]).tolist() == [10, 10]
    assert list(ShuffleSampler(20, 4, lambda: 2, groups=groups)) == first[8:]
    shares = [list(ShuffleSampler(20, 4, lambda: 0, 0, 2, rank, groups)) for rank in (0, 1)]
    assert shares == [first[0::2], first[1::2]]
