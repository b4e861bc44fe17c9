"""Datasets of rendered frames, cached on disk or rendered at every access."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from s2hand.data.base import HandDataset
from s2hand.data.storage.cache import Layout, open_cache, write_cache
from s2hand.files.cores import cores
from s2hand.files.folders import default_root
from s2hand.files.progress import progress
from s2hand.types import Camera, HandBatch, Labels

Block = dict[str, np.ndarray]
"""Arrays of consecutive frames, by the names of the layout."""


class RenderedDataset(HandDataset):
    """Serves frames of :meth:`render`, from a cache on disk if there is one.

    Args:
        frames: Number of frames.
        image_px: Side of the stored images.
        crop_px: Side of the crop that keypoints and intrinsics refer to.
        labels: Whether samples have 3D labels.
        cache: True for the default folder (:func:`default_root`), a folder, or False to render at
            every access.
    """

    unit = 1
    """Frames that can only be rendered together."""
    chunk = 16
    """Frames rendered at a time while a cache is written: a multiple of ``unit``."""

    def __init__(
        self, frames: int, image_px: int, crop_px: int, labels: bool, cache: bool | str | Path
    ) -> None:
        if frames < 1 or image_px < 16:
            raise ValueError(f"{frames} frames of {image_px} px: give at least 1 frame of 16 px")
        self._frames, self._image_px, self._crop_px = frames, image_px, crop_px
        self._labels = labels
        self._root = (
            default_root() if cache is True else Path(cache).expanduser() if cache else None
        )
        self._arrays: Block | None = None
        self._last: tuple[int, Block] | None = None

    @abstractmethod
    def render(self, frames: range) -> Block:
        """Arrays of these consecutive frames (whole units), including labels."""

    @property
    def layout(self) -> Layout:
        """Arrays of the cache: data type and shape of one frame."""
        px = self._image_px
        layout = {
            "image": ("|u1", (3, px, px)),
            "keypoints": ("<f4", (21, 2)),
            "confidence": ("<f4", (21,)),
            "intrinsics": ("<f4", (3, 3)),
        }
        if self._labels:
            layout |= {"joints": ("<f4", (21, 3)), "vertices": ("<f4", (778, 3))}
        return layout

    @property
    def cache_folder(self) -> Path | None:
        """Folder of the cached frames, or None without a cache."""
        if self._root is None:
            return None
        return self._root / f"synthetic-{self.content_key}{'-labels' if self._labels else ''}"

    def prepare(self) -> None:
        """Render all frames into the cache if it does not exist; shows a progress bar."""
        folder = self.cache_folder
        if folder is not None and not folder.is_dir():
            write_cache(folder, len(self), self.layout, self._render_all(folder))

    def __len__(self) -> int:
        return self._frames

    def __getitem__(self, index: int) -> HandBatch:
        """One frame, t = 1.

        Raises:
            IndexError: beyond the last frame.
        """
        index = range(len(self))[index]
        block, row = self._block(index)
        image = torch.from_numpy(block["image"][row : row + 1].astype(np.float32) / 255)
        tensors = {
            name: torch.from_numpy(block[name][row : row + 1].astype(np.float32))
            for name in self.layout
            if name != "image"
        }
        labels = Labels(tensors["joints"], tensors["vertices"]) if self._labels else None
        return HandBatch(
            image=image,
            keypoints=tensors["keypoints"],
            confidence=tensors["confidence"],
            camera=Camera(tensors["intrinsics"], self._crop_px),
            index=torch.tensor([index]),
            labels=labels,
        )

    def __getstate__(self) -> dict[str, object]:
        # Spawned workers open the memory maps themselves.
        return {**self.__dict__, "_arrays": None, "_last": None}

    def _block(self, index: int) -> tuple[Block, int]:
        """Arrays with the frame, and its row in them."""
        folder = self.cache_folder
        if folder is not None:
            if self._arrays is None:
                self.prepare()
                self._arrays = open_cache(folder, len(self), self.layout)
            return self._arrays, index
        start = index - index % self.unit
        if self._last is None or self._last[0] != start:
            self._last = (start, self.render(range(start, min(start + self.unit, len(self)))))
        return self._last[1], index - start

    def _render_all(self, folder: Path) -> Iterator[Block]:
        chunks = _Chunks(self)
        # Workers must not start workers; a single chunk cannot be distributed.
        alone = get_worker_info() is not None or len(chunks) < 2
        loader = DataLoader(
            chunks,
            batch_size=None,
            num_workers=0 if alone else min(cores(), len(chunks), 8),
            collate_fn=_unchanged,
            generator=torch.Generator(),  # leaves the random state of training alone
        )
        yield from progress(
            loader, f"rendering {len(self)} frames to {folder}", len(chunks), "part"
        )


class _Chunks(Dataset[Block]):
    """Chunks of a rendered dataset; a ``DataLoader`` distributes them over processes."""

    def __init__(self, source: RenderedDataset) -> None:
        self._source = source

    def __len__(self) -> int:
        return -(-len(self._source) // self._source.chunk)

    def __getitem__(self, index: int) -> Block:
        start = index * self._source.chunk
        stop = min(start + self._source.chunk, len(self._source))
        block = self._source.render(range(start, stop))
        return {name: block[name] for name in self._source.layout}


def _unchanged(block: Any) -> Any:
    return block
