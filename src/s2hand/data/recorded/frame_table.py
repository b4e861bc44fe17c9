"""The table of frames that a loader of recorded sequences builds, and its label files."""

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
    """The frames that a loader found on disk, one row each, in the order of the split."""

    names: Sequence[str]
    """``recording/frame``."""
    numbers: Int[np.ndarray, " n"]
    """Frame numbers; consecutive numbers of a recording are consecutive in time."""
    files: Sequence[Path]
    """The images."""
    intrinsics: Float[np.ndarray, "n 3 3"]
    """K of the whole image, pixels."""
    left: Bool[np.ndarray, " n"]
    """Whether a left hand is labelled."""
    joints: Float[np.ndarray, "n 21 3"] | None = None
    """Camera space (OpenCV axes), metres, common order; not mirrored."""
    vertices: Float[np.ndarray, "n 778 3"] | None = None
    """Vertices of the same hands; None if the dataset has none."""
    visible: Bool[np.ndarray, "n 21"] | None = None
    """Joints that the benchmark counts; None if it counts all."""
    boxes: Float[np.ndarray, "n 4"] | None = None
    """Hand boxes x0, y0, x1, y1 that are part of the task; NaN if missing."""
    detection_names: Sequence[str] | None = None
    """Names of the frames in detection files, if they differ from ``names``."""
    pictures: Sequence[str] | None = None
    """The name of each frame's picture, if one picture can have two frames: a left and a right
    hand."""
    sizes: Int[np.ndarray, "n 2"] | None = None
    """(width, height) of each image, if the dataset has images of several sizes."""

    def rows(self, kept: Int[np.ndarray, " m"]) -> FrameTable:
        """The frames with these row numbers."""
        chosen: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                chosen[field.name] = value[kept]
            elif value is not None:
                chosen[field.name] = [value[row] for row in kept.tolist()]
        return replace(self, **chosen)


def runs(table: FrameTable) -> list[Int[np.ndarray, " m"]]:
    """Runs of rows that are consecutive in time within one recording."""
    recording = recordings(table)
    order = np.lexsort((table.numbers, recording))
    cuts = (np.diff(recording[order]) != 0) | (np.diff(table.numbers[order]) != 1)
    return np.split(order, np.flatnonzero(cuts) + 1)


def recordings(table: FrameTable) -> Int[np.ndarray, " n"]:
    """A number per recording; a recording is the part of the name before the last slash."""
    names = [name.rpartition("/")[0] for name in table.names]
    return np.unique(names, return_inverse=True)[1]


def read_labels(
    kind: str,
    files: Sequence[Path | None],
    layout: Layout,
    read: Callable[[Path], Mapping[str, np.ndarray]],
) -> dict[str, np.ndarray]:
    """One row of arrays per label file, NaN for None; read once, then cached.

    Opening hundreds of thousands of small files takes minutes, so threads read them ahead
    (:func:`~s2hand.data.storage.read_ahead.read_ahead`). The rows are cached under a key that
    changes with the files' paths, sizes, times and listed checksums. ``read`` is called from
    several threads; its first error is raised, and no cache is written.
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
