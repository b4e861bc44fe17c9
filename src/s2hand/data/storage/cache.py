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
    """Bytes of ``frames`` rows of every array on disk, without headers."""
    return frames * sum(np.dtype(dtype).itemsize * prod(shape) for dtype, shape in layout.values())


def write_cache(
    folder: Path, frames: int, layout: Layout, chunks: Iterable[Mapping[str, np.ndarray]]
) -> None:
    """Write consecutive ``chunks`` of rows; ``folder`` appears only when all are written.

    The arrays are appended to in a temporary folder beside ``folder``, which is renamed at the end.
    After an error, a full disk or Ctrl-C it is removed. Killed processes may leave a
    ``.partial-*`` folder, which is never read. If another process finished first, its result is
    kept.

    Raises:
        OSError: if the disk has too little space, before anything is written and with the space
            needed, or if it fills up nevertheless.
        ValueError: if the chunks are not ``frames`` rows of the layout in total.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    needed, free = required_bytes(frames, layout), shutil.disk_usage(folder.parent).free
    if needed > free:
        raise OSError(
            f"{folder.parent} has {free / 1e9:.2f} GB free and the {frames} frames of this cache "
            f"need {needed / 1e9:.2f} GB: free some space, set S2HAND_CACHE to another disk, use "
            "fewer or smaller frames, or render on the fly (cache=false)"
        )
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        _write_arrays(partial, frames, layout, chunks)
        partial.chmod(0o755)  # mkdtemp makes it private, but users may share a cache
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
    """The rows that ``read`` parses from ``files``; read once, then cached.

    ``read`` returns the number of rows, and the rows. The key changes with the ``version`` of the
    layout and with the files' stamps.
    """
    key = content_key(version=version, files=[file_stamp(file) for file in files])
    folder = default_root() / f"{kind}-{key}"
    if not folder.is_dir():
        count, rows = read()
        write_cache(folder, count, layout, rows)
    return open_cache(folder, None, layout)


def open_cache(folder: Path, frames: int | None, layout: Layout) -> dict[str, np.ndarray]:
    """The arrays of a complete cache, memory-mapped read-only.

    ``frames`` is the number of rows expected; None accepts that of the first array.

    Raises:
        ValueError: if an array differs from the layout, naming the file.
    """
    arrays = {}
    for name, (dtype, shape) in layout.items():
        path = folder / f"{name}.npy"
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: {error}; delete {folder} to make it again") from error
        frames = len(array) if frames is None and array.ndim else frames
        if array.shape != (frames, *shape) or array.dtype != np.dtype(dtype):
            raise ValueError(
                f"{path} holds {array.dtype} {array.shape}, not {dtype} {(frames, *shape)}; "
                f"delete {folder} to make it again"
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
                # On a full disk a write raises, but a memory map would kill the process.
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
