"""The LightningDataModule of every dataset: loaders, windows, cached features."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from s2hand.data.base import HandDataset
from s2hand.data.sampling import InOrderSampler, ShuffleSampler, batches_seen
from s2hand.data.storage.features import Extract, FeatureDataset
from s2hand.data.windows import WindowedDataset
from s2hand.files.cores import cores
from s2hand.types import HandBatch
from s2hand.window import Window

_log = logging.getLogger(__name__)
MakeDataset = Callable[[], HandDataset]
_WORKERS = 4


class HandDataModule(pl.LightningDataModule):
    """Loaders over up to three datasets.

    Args:
        train, val, test: called to make the datasets, when their stage begins.
        window: frames per training sample. Validation and test read single frames, in order.
        batch_size: clips per training batch; validation and test take as many frames at once.
        num_workers: loader processes; 0 loads in the training process, None uses one per core, at
            most four.
        cache_features: add the encoder's frozen features to the samples, where available.
        seed: seed of the order of training samples.
    """

    def __init__(
        self,
        train: MakeDataset | None = None,
        val: MakeDataset | None = None,
        test: MakeDataset | None = None,
        window: Window | None = None,
        batch_size: int = 32,
        num_workers: int | None = 0,
        cache_features: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.makers = {"train": train, "val": val, "test": test}
        self.window = window or Window()
        self.batch_size, self.seed = batch_size, seed
        self.num_workers = min(_WORKERS, cores()) if num_workers is None else num_workers
        self.cache_features = cache_features
        self._features: tuple[Extract, str] | None = None
        self._datasets: dict[str, HandDataset] = {}
        self._resumed = 0

    def use_features(self, extract: Extract, key: str) -> None:
        """Add the features that ``extract`` computes to every sample, if ``cache_features``."""
        if self.cache_features:
            self._features = (extract, key)

    def map_makers(self, change: Callable[[MakeDataset], MakeDataset]) -> None:
        """Replace the maker of each dataset by ``change(maker)``."""
        self.makers = {split: make and change(make) for split, make in self.makers.items()}

    def dataset(self, split: str) -> HandDataset:
        """The frames of a split, with features, made once."""
        if split not in self._datasets:
            make = self.makers[split]
            if make is None:
                raise ValueError(f"this data configuration has no {split} set: set data.{split}")
            frames = make()
            if self._features is not None:
                frames = FeatureDataset(frames, *self._features)
            frames.prepare()
            self._datasets[split] = frames
        return self._datasets[split]

    def prepare_data(self) -> None:
        """Render, decode and cache the data of the stage; Lightning calls this once per machine.

        The other processes wait, then map the files. Frozen features are computed on the model's
        device, so the model is moved there first.
        """
        trainer = self.trainer
        assert trainer is not None
        splits = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}
        if self.serves_features:
            trainer.strategy.model_to_device()
        for split in splits.get(str(trainer.state.fn and trainer.state.fn.value), ()):
            # A run without validation needs no validation cache.
            skipped = split == "val" and trainer.limit_val_batches == 0
            if self.makers[split] is not None and not skipped:
                self.make_split(split)

    @property
    def serves_features(self) -> bool:
        """Whether samples have frozen features."""
        return self._features is not None

    def make_split(self, split: str) -> None:
        """Make and prepare all datasets of a split."""
        self.dataset(split)

    def train_dataloader(self) -> DataLoader[HandBatch]:
        """Shuffled, from the run's current position: see :meth:`shuffled`."""
        return self.shuffled(self._seen, *self._processes())

    def shuffled(
        self, seen: Callable[[], int], processes: int = 1, rank: int = 0
    ) -> DataLoader[HandBatch]:
        """The training batches of process ``rank``, after the batches that the run has ``seen``.

        Windows are drawn evenly from all recordings. An incomplete last batch is dropped, because
        batch norm is unreliable on small batches.
        """
        samples: HandDataset | WindowedDataset = self.dataset("train")
        groups = None
        if self.window.frames > 1:
            samples = WindowedDataset(self.dataset("train"), self.window)
            groups = samples.recordings
        length = len(samples)
        sampler = ShuffleSampler(
            length, self.batch_size, seen, self.seed, processes, rank, groups=groups
        )
        # A dataset smaller than a batch gives one incomplete batch instead of none.
        few = len(sampler) < self.batch_size
        if few:
            _log.warning("%d samples are fewer than one batch of %d", length, self.batch_size)
        return self._loader(samples, self.batch_size, sampler=sampler, drop_last=not few)

    def val_dataloader(self) -> DataLoader[HandBatch] | list[Any]:
        """In order, split between all processes; no loader without a validation set."""
        return self._shared("val") if self.makers["val"] is not None else []

    def test_dataloader(self) -> DataLoader[HandBatch]:
        """In order, split between all processes."""
        return self._shared("test")

    def _shared(self, split: str) -> DataLoader[HandBatch]:
        sampler = InOrderSampler(len(self.dataset(split)), *self._processes())
        return self.in_order(split, sampler=sampler)

    def in_order(self, split: str, **options: Any) -> DataLoader[HandBatch]:
        """Every frame of a split, in order and in this process; ``options`` are the loader's."""
        return self._loader(self.dataset(split), self.batch_size * self.window.frames, **options)

    def _processes(self) -> tuple[int, int]:
        """The number of processes, and the rank of this one."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)

    def _loader(
        self, samples: HandDataset | WindowedDataset, batch_size: int, **options: Any
    ) -> DataLoader[HandBatch]:
        return DataLoader(
            samples,
            batch_size,
            num_workers=self.num_workers,
            collate_fn=HandBatch.stack,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )

    def state_dict(self) -> dict[str, Any]:
        """The number of batches the run has seen, for checkpoints."""
        return {"seen": self._seen()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume after the last batch already trained on."""
        self._resumed = int(state_dict["seen"])

    def _seen(self) -> int:
        # Loaders are made before Lightning restores its count, so the larger count is right.
        return max(self._resumed, batches_seen(self.trainer) if self.trainer else 0)
