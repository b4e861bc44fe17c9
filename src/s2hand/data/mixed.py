"""Several datasets in one run: whole batches of each in turn, by weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from torch.utils.data import DataLoader

from s2hand.data.base import HandDataset
from s2hand.data.module import HandDataModule, MakeDataset
from s2hand.data.sampling import turns
from s2hand.data.storage.features import Extract
from s2hand.types import HandBatch


class MixedDataModule(HandDataModule):
    """Datamodules that take turns in training; each batch comes from one of them.

    A batch has one joint convention, one image size and one number of frames, whatever those of
    the others are, because one part alone made it: with its own window, batch size, workers, seed
    and cached features. Temporal terms count on the batches that are long enough for them.

    Args:
        parts: by name what a choice of ``data`` configures: its datamodule under ``data``, the
            values it was made of under ``dataset``.
        weights: by the same names whole numbers: of ``sum(weights)`` successive batches so many
            are the part's. To accumulate gradients over as many mixes each step exactly.
        val: the part whose validation set is the run's; None: no validation.
        test: the part whose test set is evaluated.

    Raises:
        ValueError: for unknown keys, weights that are left out or no whole numbers above 0, and
            parts without the set that is asked of them. Each names the part and the remedy.
    """

    def __init__(
        self,
        parts: Mapping[str, Mapping[str, Any]],
        weights: Mapping[str, int],
        val: str | None = None,
        test: str | None = None,
    ) -> None:
        self.parts = {name: _module_of(name, part) for name, part in parts.items()}
        self.turns = turns(_checked(weights, self.parts))
        # All parts train; where one set has to stand for that, as in pictures, it is the first's.
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
                f"data.{split}={name}: this part has no {split} set; those that have one: "
                f"{', '.join(having) or 'none, so set it to null'}"
            )
        return make

    def use_features(self, extract: Extract, key: str) -> None:
        """Have every part whose ``cache_features`` is on serve the frozen features."""
        for part in self.parts.values():
            part.use_features(extract, key)

    def map_makers(self, change: Callable[[MakeDataset], MakeDataset]) -> None:
        """Replace what makes each dataset of each part."""
        for part in self.parts.values():
            part.map_makers(change)

    def dataset(self, split: str) -> HandDataset:
        """The frames of the part that validates or is tested; of ``train``, the first part's."""
        return self._part(split).dataset(split)

    @property
    def serves_features(self) -> bool:
        """Whether any part serves frozen features."""
        return any(part.serves_features for part in self.parts.values())

    def make_split(self, split: str) -> None:
        """Make and prepare the datasets of a split: of all parts that train, else of one."""
        parts = self.parts.values() if split == "train" else [self._part(split)]
        for part in parts:
            part.dataset(split)

    def in_order(self, split: str, **options: Any) -> DataLoader[HandBatch]:
        """Every frame of :meth:`dataset`, in the batches of its part."""
        return self._part(split).in_order(split, **options)

    def train_dataloader(self) -> MixedLoader:  # type: ignore[override]
        """All parts in turn, from where the run stands."""
        return MixedLoader(self.parts, self.turns, self._seen, *self._processes())

    def _part(self, split: str) -> HandDataModule:
        name = self._owner[split]
        if name is None:
            known = ", ".join(self.parts)
            raise ValueError(f"no part is named for {split}: set data.{split} to one of {known}")
        return self.parts[name]


class MixedLoader:
    """The batches of several datamodules in a fixed order of turns.

    Which part is next, and which of its samples, depends on how many batches the run has seen and
    on the seeds of the parts, and on nothing else. So all processes take the same part at the same
    step, with samples of their own, and a resumed run goes on with the next batch. An epoch has
    about as many batches as all parts together, in whole rounds of turns; a part that has shown
    all its samples before is shuffled anew, and one that has not goes on in the next epoch.

    Args:
        parts: datamodules by name.
        turns: positions in ``parts``: which comes next, over and over.
        seen: how many batches the run has seen; asked at the start of every iteration.
        processes: how many share the samples.
        rank: which of them this is.

    Raises:
        ValueError: for a part that has less than one batch for each process.
    """

    def __init__(
        self,
        parts: Mapping[str, HandDataModule],
        turns: Sequence[int],
        seen: Callable[[], int],
        processes: int = 1,
        rank: int = 0,
    ) -> None:
        self.turns, self.seen = tuple(turns), seen
        self._taken = [0] * len(parts)
        self.loaders = [
            part.shuffled(partial(self._taken.__getitem__, i), processes, rank)
            for i, part in enumerate(parts.values())
        ]
        for (name, part), loader in zip(parts.items(), self.loaders, strict=True):
            own = len(loader.sampler)  # type: ignore[arg-type]
            if own < part.batch_size:
                raise ValueError(
                    f"part {name!r} has {own} samples for each of {processes} processes, less than "
                    f"one batch of {part.batch_size}: lower data.parts.{name}.data.batch_size, or "
                    "leave the part out"
                )
        together = sum(map(len, self.loaders))
        self.batches = max(together // len(self.turns), 1) * len(self.turns)

    def __len__(self) -> int:
        """Batches of an epoch, the same for every process."""
        return self.batches

    def __iter__(self) -> Iterator[HandBatch]:
        """The rest of the epoch that the run stands in."""
        seen = self.seen()
        rounds, begun = divmod(seen, len(self.turns))
        for i in range(len(self.loaders)):
            self._taken[i] = rounds * self.turns.count(i) + self.turns[:begun].count(i)
        batches = [iter(loader) for loader in self.loaders]  # workers of all begin to load
        for position in range(seen % self.batches, self.batches):
            i = self.turns[position % len(self.turns)]
            batch = next(batches[i], None)
            if batch is None:
                batches[i] = iter(self.loaders[i])
                batch = next(batches[i])
            self._taken[i] += 1
            yield batch


def _module_of(name: str, part: Mapping[str, Any]) -> HandDataModule:
    """The datamodule of a part, which must have something to train on."""
    unknown = sorted(set(part) - {"dataset", "data"})
    module = part.get("data")
    if unknown or not isinstance(module, HandDataModule):
        raise ValueError(
            f"data.parts.{name} holds {sorted(part)}: a part has `dataset` and `data`, as a choice "
            f"of `data` brings them: +data@data.parts.{name}=freihand"
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
            f"data.weights are of {sorted(weights)}, data.parts are {sorted(parts)}: give each "
            f"part its weight, e.g. 'data.weights={{{','.join(f'{name}:1' for name in parts)}}}'"
        )
    for name, weight in weights.items():
        if type(weight) is not int or weight < 1:
            raise ValueError(
                f"data.weights.{name}={weight}: a weight is a whole number of batches from 1 on (1 "
                "and 2 for a third and two thirds); to train without a part, leave it out"
            )
    divisor = math.gcd(*weights.values())
    return [weights[name] // divisor for name in parts]
