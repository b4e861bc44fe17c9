"""Several datasets in one run: they supply whole batches in turn, by weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from torch.utils.data import DataLoader

from s2hand.data.base import HandDataset
from s2hand.data.module import HandDataModule, MakeDataset
from s2hand.data.sampling import round_robin
from s2hand.data.storage.features import Extract
from s2hand.types import HandBatch


class MixedDataModule(HandDataModule):
    """Datamodules that alternate in training; each batch comes from one of them.

    A part makes its batches with its own window, batch size, workers, seed and cached features. So
    all samples of a batch share a joint convention, an image size and a number of frames, which may
    differ between parts. Temporal terms apply to the batches that are long enough for them.

    Args:
        parts: name -> configuration of a ``data`` choice: its datamodule under ``data``, the
            values it was made from under ``dataset``.
        weights: name -> whole number of the part's batches among ``sum(weights)`` successive ones.
            Accumulate gradients over ``sum(weights)`` batches to mix every step exactly.
        val: the part with the run's validation set; None: no validation.
        test: the part with the test set to evaluate.

    Raises:
        ValueError: for unknown keys, weights that are missing or not whole numbers above 0, and
            parts without the set requested. The message names the part and the remedy.
    """

    def __init__(
        self,
        parts: Mapping[str, Mapping[str, Any]],
        weights: Mapping[str, int],
        val: str | None = None,
        test: str | None = None,
    ) -> None:
        self.parts = {name: _module_of(name, part) for name, part in parts.items()}
        self.schedule = round_robin(_checked(weights, self.parts))
        # All parts train; where one training set represents them, as in pictures, it is the first.
        self._owner = {"train": next(iter(self.parts)), "val": val, "test": test}
        train, val_set, test_set = (self._maker(split, n) for split, n in self._owner.items())
        longest = max((part.window for part in self.parts.values()), key=lambda w: w.frames)
        super().__init__(train, val_set, test_set, longest)

    def _maker(self, split: str, name: str | None) -> MakeDataset | None:
        if name is None:
            return None
        if name not in self.parts:
            raise ValueError(f"data.{split}={name}: the parts are {', '.join(self.parts)}")
        make = self.parts[name].makers[split]
        if make is None:
            having = [n for n, part in self.parts.items() if part.makers[split] is not None]
            raise ValueError(
                f"data.{split}={name}: this part has no {split} set; parts with one: "
                f"{', '.join(having) or 'none, so set it to null'}"
            )
        return make

    def use_features(self, extract: Extract, key: str) -> None:
        """Serve the frozen features in every part with ``cache_features`` on."""
        for part in self.parts.values():
            part.use_features(extract, key)

    def map_makers(self, change: Callable[[MakeDataset], MakeDataset]) -> None:
        """Replace the maker of each dataset of each part."""
        for part in self.parts.values():
            part.map_makers(change)

    def dataset(self, split: str) -> HandDataset:
        """The frames of the part named for ``val`` or ``test``; for ``train``, the first part's."""
        return self._part(split).dataset(split)

    @property
    def serves_features(self) -> bool:
        """Whether any part serves frozen features."""
        return any(part.serves_features for part in self.parts.values())

    def make_split(self, split: str) -> None:
        """Make and prepare the datasets of a split: of all parts for ``train``, else of one."""
        parts = self.parts.values() if split == "train" else [self._part(split)]
        for part in parts:
            part.dataset(split)

    def in_order(self, split: str, **options: Any) -> DataLoader[HandBatch]:
        """Every frame of :meth:`dataset`, in the batches of its part."""
        return self._part(split).in_order(split, **options)

    def train_dataloader(self) -> MixedLoader:  # type: ignore[override]
        """All parts in turn, from the run's current position."""
        return MixedLoader(self.parts, self.schedule, self._seen, *self._processes())

    def _part(self, split: str) -> HandDataModule:
        name = self._owner[split]
        if name is None:
            known = ", ".join(self.parts)
            raise ValueError(f"no part is named for {split}: set data.{split} to one of {known}")
        return self.parts[name]


class MixedLoader:
    """The batches of several datamodules in a fixed, periodic order.

    The next part and its samples depend only on the number of batches the run has seen and on the
    seeds of the parts. So all processes take the same part at the same step, each with different
    samples, and a resumed run continues with the next batch. An epoch has about as many batches as
    all parts together, in whole rounds of the schedule. A part that runs out of samples earlier is
    reshuffled; one that does not continues in the next epoch.

    Args:
        parts: datamodules by name.
        schedule: positions in ``parts`` in the order of their batches, repeated.
        seen: returns the number of batches the run has seen; called at the start of an iteration.
        processes: number of processes that share the samples.
        rank: number of this process.

    Raises:
        ValueError: for a part with less than one batch for each process.
    """

    def __init__(
        self,
        parts: Mapping[str, HandDataModule],
        schedule: Sequence[int],
        seen: Callable[[], int],
        processes: int = 1,
        rank: int = 0,
    ) -> None:
        self.schedule, self.seen = tuple(schedule), seen
        self._taken = [0] * len(parts)
        self.loaders = [
            part.shuffled(partial(self._taken.__getitem__, i), processes, rank)
            for i, part in enumerate(parts.values())
        ]
        for (name, part), loader in zip(parts.items(), self.loaders, strict=True):
            count = len(loader.sampler)  # type: ignore[arg-type]
            if count < part.batch_size:
                raise ValueError(
                    f"part {name!r} has {count} samples for each of {processes} processes, less "
                    f"than one batch of {part.batch_size}: lower "
                    f"data.parts.{name}.data.batch_size, or leave the part out"
                )
        total = sum(map(len, self.loaders))
        self.batches = max(total // len(self.schedule), 1) * len(self.schedule)

    def __len__(self) -> int:
        """Batches of an epoch, the same for every process."""
        return self.batches

    def __iter__(self) -> Iterator[HandBatch]:
        """The rest of the run's current epoch."""
        # Batches already taken from each part follow from the number that the run has seen.
        seen = self.seen()
        rounds, begun = divmod(seen, len(self.schedule))
        for i in range(len(self.loaders)):
            self._taken[i] = rounds * self.schedule.count(i) + self.schedule[:begun].count(i)
        batches = [iter(loader) for loader in self.loaders]  # all workers start loading
        for position in range(seen % self.batches, self.batches):
            i = self.schedule[position % len(self.schedule)]
            batch = next(batches[i], None)
            # A small part is exhausted before the epoch ends: reshuffle it.
            if batch is None:
                batches[i] = iter(self.loaders[i])
                batch = next(batches[i])
            self._taken[i] += 1
            yield batch


def _module_of(name: str, part: Mapping[str, Any]) -> HandDataModule:
    """The datamodule of a part, checked to have a training set."""
    unknown = sorted(set(part) - {"dataset", "data"})
    module = part.get("data")
    if unknown or not isinstance(module, HandDataModule):
        raise ValueError(
            f"data.parts.{name} holds {sorted(part)}: a part has `dataset` and `data`, as in a "
            f"choice of `data`: +data@data.parts.{name}=freihand"
        )
    if module.makers["train"] is None:
        raise ValueError(f"part {name!r} has no training set: leave it out of data.parts")
    return module


def _checked(weights: Mapping[str, int], parts: Mapping[str, Any]) -> list[int]:
    """The weights in the order of the parts."""
    if not parts:
        raise ValueError("data.parts is empty: add some, e.g. +data@data.parts.freihand=freihand")
    if set(weights) != set(parts):
        raise ValueError(
            f"data.weights name {sorted(weights)}, data.parts are {sorted(parts)}: give each "
            f"part its weight, e.g. 'data.weights={{{','.join(f'{name}:1' for name in parts)}}}'"
        )
    for name, weight in weights.items():
        if type(weight) is not int or weight < 1:
            raise ValueError(
                f"data.weights.{name}={weight}: a weight is a whole number of batches, at least 1 "
                "(1 and 2 mean a third and two thirds); to train without a part, leave it out"
            )
    # (2, 4) is the same mix as (1, 2), in a shorter round.
    divisor = math.gcd(*weights.values())
    return [weights[name] // divisor for name in parts]
