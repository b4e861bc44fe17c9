"""A packed dataset, on disk or in an object store, in place of the one it was made of."""

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
    """What ``s2hand-data pack`` has written: the samples of the original, equal in every bit.

    Length, names, segments, key and everything else are the original's too, so windows, the order
    of training, resuming, several processes and caches of features do as with the files. A frame
    is fetched when it is asked for, by its range of bytes; nothing is kept. Only the index is read
    as a whole, once. Frames carry checksums, which are compared at every access.

    Args:
        path: the folder, or its URL: whatever fsspec opens (``s3://`` with s3fs, ``gs://`` with
            gcsfs, ``https://``).

    Raises:
        FileNotFoundError: if there is no index, or (from :meth:`prepare`) a shard is missing.
        OSError: naming the file that a file system could not read, and why.
        ValueError: without a path, and for an index of another version or of values that cannot
            be; from :meth:`prepare` for shards of another size; from samples for damaged frames.
            Each names the file and the remedy.
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
            "the file again or pack the dataset anew; `s2hand-data check packed` finds all damage"
        )

    @property
    def names(self) -> Sequence[str]:
        """The original's names."""
        return self.index.names

    @property
    def content_key(self) -> str:
        """The original's key: these are its frames, and caches made of them serve both."""
        return self.index.content_key

    def segments(self) -> list[Sequence[int]]:
        """The original's runs."""
        return list(self.index.segments)

    def is_left(self, index: int) -> bool:
        """As the original said."""
        return index in self.index.left_frames

    def prepare(self) -> None:
        """See that every shard is there in its size, before hours are spent on some of them."""
        files, root = self._open()
        for name, size, _ in self.index.shards:
            with self._naming(name):
                found = files.info(f"{root}/{name}").get("size")
            if found is not None and found != size:  # some servers do not say
                raise ValueError(
                    f"{self.path}/{name} has {found} bytes, not {size}: it is cut short or of "
                    "another set; copy it again or pack the dataset anew"
                )

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_files": None}

    def _open(self) -> tuple[AbstractFileSystem, str]:
        """The file system, opened anew in every process: connections do not survive a fork."""
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
            # By name: s3fs has a version before them.
            return bytes(files.cat_file(f"{root}/{name}", start=start, end=end))

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Errors of any file system, which may be its own kind of exception, as one of ours."""
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{self.path}/{name} is missing: copy it, too, or pack the dataset anew "
                "(s2hand-data pack); a packed set is a folder of index.json and frames-*.tar"
            ) from error
        except Exception as error:
            said = str(error) or type(error).__name__
            raise OSError(f"{self.path}/{name} cannot be read: {said}") from error
