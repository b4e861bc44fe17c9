"""Features of the encoder's frozen stages, computed once per dataset and memory-mapped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from s2hand.data.base import HandDataset, content_key
from s2hand.data.storage.cache import Layout, open_cache, write_cache
from s2hand.data.wrapped import WrappedDataset
from s2hand.files.folders import default_root
from s2hand.files.progress import progress
from s2hand.types import HandBatch

VERSION = 2
"""Increment it with every change that alters the maps; older caches are then ignored."""
Extract = Callable[[Tensor], tuple[Tensor, ...]]


class FeatureDataset(WrappedDataset):
    """A dataset that adds cached features to its samples.

    The pixels stay in the samples, because the photometric losses need them. The wrapped dataset
    must return the same image at every visit, so without pixel augmentation.

    Args:
        dataset: the frames.
        extract: images [n, 3, h, w] in 0..1 to a tuple of maps [n, c, h', w'].
        extract_key: a key that changes with ``extract``.
        cache: parent of the folder with the maps in fp16, which is named by both keys; by default
            ``$S2HAND_CACHE`` or ``~/.cache/s2hand``.
    """

    chunk = 8

    def __init__(
        self, dataset: HandDataset, extract: Extract, extract_key: str, cache: Path | None = None
    ) -> None:
        super().__init__(dataset)
        self._extract: Extract | None = extract
        self._key = content_key(version=VERSION, frames=dataset.content_key, extract=extract_key)
        self.folder = (cache or default_root()) / f"features-{self._key}"
        self._layout: Layout | None = None
        self._maps: list[np.ndarray] | None = None

    def __getitem__(self, index: int) -> HandBatch:
        """The frame with its maps, each [1, c, h, w] in fp16."""
        if self._maps is None:
            if self._layout is None:
                raise RuntimeError("call prepare() before reading cached features")
            arrays = open_cache(self.folder, len(self), self._layout)
            self._maps = [arrays[name] for name in self._layout]
        index = self.position(index)
        features = tuple(torch.from_numpy(m[index : index + 1].copy()) for m in self._maps)
        return replace(self.dataset[index], features=features)

    @property
    def content_key(self) -> str:
        """Key of frames and features together."""
        return self._key

    def prepare(self) -> None:
        """Compute the maps unless they exist; an interrupted computation leaves no files.

        Raises:
            ValueError: if a map exceeds the range of fp16.
        """
        self.dataset.prepare()
        if self._extract is None:
            return
        # The first frame gives the shapes of the maps.
        first = self._extract(self.dataset[0].image)
        self._layout = {str(i): ("<f2", tuple(m.shape[1:])) for i, m in enumerate(first)}
        if not self.folder.is_dir():
            write_cache(self.folder, len(self), self._layout, self._compute())
        self._extract = None  # workers read the maps and need no network

    def _compute(self) -> Iterator[dict[str, np.ndarray]]:
        assert self._extract is not None
        starts = range(0, len(self), self.chunk)
        for start in progress(starts, "frozen features", len(starts), "part"):
            indices = range(start, min(start + self.chunk, len(self)))
            images = torch.cat([self.dataset[i].image for i in indices])
            maps = [m.half().numpy(force=True) for m in self._extract(images)]
            if not all(np.isfinite(m).all() for m in maps):
                raise ValueError(
                    f"frozen features of the chunk at {self.dataset.names[start]!r} exceed the "
                    "range of fp16: switch the cache off (data.cache_features=false)"
                )
            yield {str(i): m for i, m in enumerate(maps)}

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_maps": None}
