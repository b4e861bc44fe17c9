"""Features of the encoder's frozen stages, computed once per dataset and memory-mapped."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from s2hand.data.base import HandDataset, content_key
from s2hand.types import HandBatch

_log = logging.getLogger(__name__)
Extract = Callable[[Tensor], tuple[Tensor, ...]]


class FeatureDataset(HandDataset):
    """A dataset whose samples carry cached features beside their pixels.

    The pixels stay: the photometric losses compare with them. Only a dataset whose images do not
    change from visit to visit may be wrapped: no pixel augmentation.

    Args:
        dataset: the frames.
        extract: images [n, 3, h, w] in 0..1 to a tuple of maps [n, c, h', w'].
        extract_key: changes when ``extract`` does.
        cache_dir: where the maps are kept, fp16, in a folder named by both keys.
    """

    def __init__(
        self,
        dataset: HandDataset,
        extract: Extract,
        extract_key: str,
        cache_dir: str | Path,
        batch_size: int = 32,
    ) -> None:
        self.dataset = dataset
        self.extract: Extract | None = extract
        self.batch_size = batch_size
        self.key = content_key(frames=dataset.content_key, extract=extract_key)
        self.folder = Path(cache_dir).expanduser() / "features" / self.key
        self._maps: list[np.ndarray] | None = None

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> HandBatch:
        """The frame with its maps, each [1, c, h, w] in fp16."""
        maps = self._open()
        features = tuple(torch.from_numpy(m[index : index + 1].copy()) for m in maps)
        return replace(self.dataset[index], features=features)

    @property
    def names(self) -> Sequence[str]:
        """Names of the frames."""
        return self.dataset.names

    @property
    def content_key(self) -> str:
        """Key of frames and features together."""
        return self.key

    def segments(self) -> list[Sequence[int]]:
        """The dataset's own runs."""
        return self.dataset.segments()

    def prepare(self) -> None:
        """Compute the maps unless they are there; an interrupted computation leaves nothing."""
        self.dataset.prepare()
        if not self.folder.is_dir():
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f".{self.key}.", dir=self.folder.parent))
            try:
                self._compute(temporary)
                os.replace(temporary, self.folder)
            except OSError as error:
                if not self.folder.is_dir():  # another process may have been quicker
                    raise OSError(
                        error.errno, f"{error.strerror} while caching features", str(self.folder)
                    ) from error
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        self.extract = None  # workers need the maps only, not a network

    def _compute(self, folder: Path) -> None:
        assert self.extract is not None
        files: list[np.memmap] = []
        starts = range(0, len(self.dataset), self.batch_size)
        for start in track(starts, "frozen features", transient=True):
            indices = range(start, min(start + self.batch_size, len(self.dataset)))
            images = torch.cat([self.dataset[i].image for i in indices])
            maps = [m.half().cpu().numpy() for m in self.extract(images)]
            if not files:
                files = [self._create(folder, level, m) for level, m in enumerate(maps)]
            for file, m in zip(files, maps, strict=True):
                if not np.isfinite(m).all():
                    raise ValueError(
                        f"frozen features exceed fp16 in frames {start}..{indices[-1]} of "
                        f"{self.dataset.names[start]!r}: switch the cache off (data.cache_features=false)"
                    )
                file[start : start + len(m)] = m
        for file in files:
            file.flush()

    def _create(self, folder: Path, level: int, example: np.ndarray) -> np.memmap:
        shape = (len(self.dataset), *example.shape[1:])
        needed = int(np.prod(shape)) * 2
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise OSError(28, f"{needed >> 20} MiB needed, {free >> 20} MiB free", str(self.folder))
        path = folder / f"{level}.npy"
        return np.lib.format.open_memmap(path, "w+", dtype=np.float16, shape=shape)

    def _open(self) -> list[np.ndarray]:
        if self._maps is None:
            paths = sorted(self.folder.glob("*.npy"))
            if not paths:
                raise FileNotFoundError(f"{self.folder}: no cached features; call prepare() first")
            self._maps = [np.load(p, mmap_mode="r", allow_pickle=False) for p in paths]
        return self._maps

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_maps": None}
