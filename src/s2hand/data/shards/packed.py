"""A packed dataset, on disk or in an object store, that replaces the original."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import fsspec
from fsspec import AbstractFileSystem

from s2hand.data.base import HandDataset
from s2hand.data.shards.format import INDEX, read_index
from s2hand.data.shards.frames import decode_frame
from s2hand.types import HandBatch


class PackedDataset(HandDataset):
    """A dataset written by ``s2hand-data pack``: the samples of the original, bit-identical.

    Length, names, segments and content key are also the original's, so windows, the order of
    training, resuming, several processes and feature caches work as with the original files. A
    frame is read on access, by its byte range, and is not kept. Only the index is read as a whole,
    once. The checksum of a frame is verified at every access.

    Args:
        path: the folder, or a URL that fsspec opens (``s3://`` with s3fs, ``gs://`` with gcsfs,
            ``https://``).

    Raises:
        FileNotFoundError: if the index is missing; from :meth:`prepare`, if a shard is missing.
        OSError: naming the unreadable file and the reason.
        ValueError: without a path, and for an index of another version or with invalid values;
            from :meth:`prepare`, for shards of another size; from samples, for damaged frames.
            Each message names the file and the remedy.
    """

    def __init__(self, path: str | Path | None) -> None:
        if not path:
            raise ValueError(f"path={path}: name the packed set, as in dataset.test=shards/test")
        self.path = str(path).rstrip("/")
        self._files: tuple[int, AbstractFileSystem, str] | None = None
        self.index = read_index(self._read(INDEX), f"{self.path}/{INDEX}")
        self._shard_of = self.index.shard_of()
        self.fps, self.convention = self.index.fps, self.index.convention
        self.leaderboard, self.protocol = self.index.leaderboard, self.index.protocol

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.index.names)

    def __getitem__(self, index: int) -> HandBatch:
        """One frame, t = 1."""
        index = range(len(self))[index]
        start, length = self.index.offsets[index], self.index.lengths[index]
        shard = self.index.shards[self._shard_of[index]][0]
        block = self._read(shard, start, start + length)
        damage = "the file is cut short" if len(block) < length else "its checksum differs"
        if zlib.crc32(block) == self.index.crc32[index]:
            try:
                return decode_frame(block, self.index, index)
            except ValueError as error:
                damage = str(error)
        raise ValueError(
            f"{self.path}/{shard}: frame {self.index.names[index]!r} is damaged ({damage}); copy "
            "the file again or repack the dataset; `s2hand-data check packed` finds all damage"
        )

    @property
    def names(self) -> Sequence[str]:
        """The original's names."""
        return self.index.names

    @property
    def content_key(self) -> str:
        """The original's key: the frames are the same, and feature caches serve both."""
        return self.index.content_key

    def segments(self) -> list[Sequence[int]]:
        """The original's runs."""
        return list(self.index.segments)

    def is_left(self, index: int) -> bool:
        """The original's value."""
        return index in self.index.left_frames

    def prepare(self) -> None:
        """Check the presence and size of every shard, so that a long run cannot fail later."""
        files, root = self._open()
        for name, size, _ in self.index.shards:
            with self._naming(name):
                found = files.info(f"{root}/{name}").get("size")
            if found is not None and found != size:  # some servers report no size
                raise ValueError(
                    f"{self.path}/{name} has {found} bytes, not {size}: it is cut short or from "
                    "another set; copy it again or repack the dataset"
                )

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_files": None}

    def _open(self) -> tuple[AbstractFileSystem, str]:
        """The file system, opened once per process: connections do not survive a fork."""
        if self._files is None or self._files[0] != os.getpid():
            try:
                self._files = (os.getpid(), *fsspec.core.url_to_fs(self.path))
            except (ImportError, ValueError) as error:
                raise ValueError(
                    f"{self.path}: {error}; pip install 's2hand[shards]' brings s3:// and gs://"
                ) from error
        return self._files[1:]

    def _read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        files, root = self._open()
        with self._naming(name):
            # Keywords, because s3fs has a version argument before start and end.
            return bytes(files.cat_file(f"{root}/{name}", start=start, end=end))

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Convert any file system's exceptions to FileNotFoundError or OSError with the name."""
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{self.path}/{name} is missing: copy it too, or repack the dataset "
                "(s2hand-data pack); a packed set is a folder of index.json and frames-*.tar"
            ) from error
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise OSError(f"{self.path}/{name} cannot be read: {reason}") from error
