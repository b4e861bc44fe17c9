"""What loaders of recorded sequences find on disk: a table of frames, and their label files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from s2hand.data.base import content_key
from s2hand.data.storage.cache import Layout, open_cache, write_cache
from s2hand.data.storage.read_ahead import read_ahead
from s2hand.files.checksums import file_stamp
from s2hand.files.folders import default_root
from s2hand.files.progress import progress

_VERSION = 1


@dataclass(frozen=True)
class FrameTable:
    """What a loader found on disk, one row per frame, in the order of the split."""

    names: Sequence[str]
    """``recording/frame``."""
    numbers: Int[np.ndarray, " n"]
    """Frame numbers; within a recording, successive ones follow each other in time."""
    files: Sequence[Path]
    """The images."""
    intrinsics: Float[np.ndarray, "n 3 3"]
    """K of the whole image, pixels."""
    left: Bool[np.ndarray, " n"]
    """Whether a left hand is labelled."""
    joints: Float[np.ndarray, "n 21 3"] | None = None
    """Camera space (OpenCV axes), metres, common order, of the hand as it was filmed."""
    vertices: Float[np.ndarray, "n 778 3"] | None = None
    """Of the same hands; None where the dataset has none."""
    visible: Bool[np.ndarray, "n 21"] | None = None
    """Joints that its benchmark counts; None where it counts all."""
    boxes: Float[np.ndarray, "n 4"] | None = None
    """Hand boxes x0, y0, x1, y1 that are part of the task; NaN without."""
    detection_names: Sequence[str] | None = None
    """What files of detections call the frames, where it is not their names."""
    pictures: Sequence[str] | None = None
    """The name of each frame's picture, where one picture may hold two frames: a left hand and a
    right one."""
    sizes: Int[np.ndarray, "n 2"] | None = None
    """(width, height) of each image, where a dataset has images of several sizes."""

    def rows(self, kept: Int[np.ndarray, " m"]) -> FrameTable:
        """Some of the frames."""
        chosen: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                chosen[field.name] = value[kept]
            elif value is not None:
                chosen[field.name] = [value[row] for row in kept.tolist()]
        return replace(self, **chosen)


def runs(table: FrameTable) -> list[Int[np.ndarray, " m"]]:
    """Rows that follow each other in time; another recording or a missing number ends a run."""
    of = recordings(table)
    order = np.lexsort((table.numbers, of))
    cuts = (np.diff(of[order]) != 0) | (np.diff(table.numbers[order]) != 1)
    return np.split(order, np.flatnonzero(cuts) + 1)


def recordings(table: FrameTable) -> Int[np.ndarray, " n"]:
    """A number per recording: what a frame's name says up to its last slash."""
    names = [name.rpartition("/")[0] for name in table.names]
    return np.unique(names, return_inverse=True)[1]


def read_labels(
    kind: str,
    files: Sequence[Path | None],
    layout: Layout,
    read: Callable[[Path], Mapping[str, np.ndarray]],
) -> dict[str, np.ndarray]:
    """One row of arrays per label file, NaN where there is none; read once, then cached.

    Opening hundreds of thousands of small files takes minutes, so threads read them ahead
    (:func:`~s2hand.data.storage.read_ahead.read_ahead`), and the rows are kept in the cache folder
    under a key that changes with the files' paths, sizes, times and listed checksums. An error of
    ``read``, which is called from several threads, ends it and leaves no cache.
    """
    stamps = list(read_ahead(lambda file: file_stamp(file) if file else None, files))
    folder = default_root() / f"{kind}-{content_key(version=_VERSION, files=stamps)}"

    nothing = {name: np.full(shape, np.nan) for name, (_, shape) in layout.items()}

    def row(file: Path | None) -> dict[str, np.ndarray]:
        content = read(file) if file else nothing
        return {name: content[name][None] for name in layout}

    if not folder.is_dir():
        with closing(read_ahead(row, files)) as rows:
            shown = progress(rows, f"reading {kind}", len(files), "file")
            write_cache(folder, len(files), layout, shown)
    return open_cache(folder, len(files), layout)
