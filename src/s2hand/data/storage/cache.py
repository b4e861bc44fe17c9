"""A folder of ``.npy`` arrays, one row per frame, that is either complete or absent."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from s2hand.data.base import content_key
from s2hand.files.checksums import file_stamp
from s2hand.files.folders import default_root

Layout = Mapping[str, tuple[str, tuple[int, ...]]]
"""Name of an array -> (numpy dtype, shape of one frame's row)."""


def required_bytes(frames: int, layout: Layout) -> int:
    """Bytes that ``frames`` rows of every array take on disk, headers not counted."""
    return frames * sum(np.dtype(dtype).itemsize * prod(shape) for dtype, shape in layout.values())


def write_cache(
    folder: Path, frames: int, layout: Layout, chunks: Iterable[Mapping[str, np.ndarray]]
) -> None:
    """Write consecutive ``chunks`` of rows so that ``folder`` appears only when all are there.

    The arrays grow by plain writes in a temporary folder beside ``folder``, which is renamed at the
    end. An error, a full disk or Ctrl-C removes it; killed processes may leave a ``.partial-*``
    folder, which nothing reads. If another process finished first, its result is kept.

    Raises:
        OSError: if the disk has too little room, before anything is written, saying how much, or
            runs full all the same.
        ValueError: if the chunks do not add up to ``frames`` rows of the layout.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    needed, free = required_bytes(frames, layout), shutil.disk_usage(folder.parent).free
    if needed > free:
        raise OSError(
            f"{folder.parent} has {free / 1e9:.2f} GB free and the {frames} frames of this cache "
            f"need {needed / 1e9:.2f} GB: make room, point S2HAND_CACHE to another disk, take "
            "fewer or smaller frames, or render on the fly (cache=false)"
        )
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        _write_arrays(partial, frames, layout, chunks)
        partial.chmod(0o755)  # mkdtemp makes it private; a cache may be shared
        _rename(partial, folder)
    except OSError as error:
        message = f"{error.strerror or error} while writing a cache of {needed / 1e9:.2f} GB"
        raise OSError(error.errno, message, str(folder)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_once(
    kind: str,
    version: int,
    files: Sequence[Path],
    layout: Layout,
    read: Callable[[], tuple[int, Iterable[Mapping[str, np.ndarray]]]],
) -> dict[str, np.ndarray]:
    """The rows that ``read`` makes of some files, and how many they are; read once, then cached.

    The key changes with the ``version`` of the layout and with the files' stamps.
    """
    key = content_key(version=version, files=[file_stamp(file) for file in files])
    folder = default_root() / f"{kind}-{key}"
    if not folder.is_dir():
        count, rows = read()
        write_cache(folder, count, layout, rows)
    return open_cache(folder, None, layout)


def open_cache(folder: Path, frames: int | None, layout: Layout) -> dict[str, np.ndarray]:
    """The arrays of a complete cache, memory-mapped read-only; None: as many rows as the first has.

    Raises:
        ValueError: if an array is not what the layout says, naming the file.
    """
    arrays = {}
    for name, (dtype, shape) in layout.items():
        path = folder / f"{name}.npy"
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: {error}; delete {folder} to make it anew") from error
        frames = len(array) if frames is None and array.ndim else frames
        if array.shape != (frames, *shape) or array.dtype != np.dtype(dtype):
            raise ValueError(
                f"{path} holds {array.dtype} {array.shape}, not {dtype} {(frames, *shape)}; "
                f"delete {folder} to make it anew"
            )
        arrays[name] = array
    return arrays


def _write_arrays(
    folder: Path, frames: int, layout: Layout, chunks: Iterable[Mapping[str, np.ndarray]]
) -> None:
    files: dict[str, BinaryIO] = {}
    rows = dict.fromkeys(layout, 0)
    try:
        for name, (dtype, shape) in layout.items():
            files[name] = (folder / f"{name}.npy").open("wb")
            header = {"descr": dtype, "fortran_order": False, "shape": (frames, *shape)}
            np.lib.format.write_array_header_1_0(files[name], header)
        for chunk in chunks:
            for name, (dtype, shape) in layout.items():
                block = np.ascontiguousarray(chunk[name], dtype=dtype)
                if block.shape[1:] != shape:
                    raise ValueError(f"{name}: rows of shape {block.shape[1:]}, not {shape}")
                # Not a memory map: on a full disk a write raises, a mapped page kills the process.
                files[name].write(block.tobytes())
                rows[name] += len(block)
        if any(count != frames for count in rows.values()):
            raise ValueError(f"the chunks hold {rows} rows, not {frames}")
    finally:
        for file in files.values():
            file.close()


def _rename(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
