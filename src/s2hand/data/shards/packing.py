"""Write a dataset in packed form: the folder is complete, or does not exist."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from s2hand.data.base import HandDataset
from s2hand.data.shards.format import INDEX, PackedIndex, read_index
from s2hand.data.shards.frames import encode_frame, label_tensors, npy_header
from s2hand.files.json import write_json
from s2hand.files.progress import progress

SHARD_BYTES = 256 * 2**20
"""Large enough for fast reads from object stores, small enough to copy again."""
BLOCK = 512
"""Bytes of a header in a tar file; the content is padded to a multiple of it."""
_FEW = 64  # so few frames are encoded before worker processes have started


def pack(
    dataset: HandDataset,
    folder: str | Path,
    raw: bool = True,
    shard_bytes: int = SHARD_BYTES,
    num_workers: int = 0,
) -> PackedIndex:
    """Write every frame of a dataset into ``folder``, which appears once it is complete.

    Each frame is decoded and compared bit by bit before it is written. An error, a full disk or
    Ctrl-C leaves nothing; a killed process may leave a ``.partial-*`` folder beside ``folder``,
    which nothing reads. Progress is shown on stderr.

    Args:
        dataset: the frames, without cached features.
        folder: must not exist.
        raw: store uncompressed pixels; False stores PNG, which is smaller but slow to decode.
        shard_bytes: a shard ends with the frame that reaches this size.
        num_workers: processes that read and encode frames.

    Raises:
        FileExistsError: if ``folder`` exists.
        ValueError: if a frame cannot be restored bit by bit, or the index cannot be read.
        OSError: if the disk is full.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists: give another folder, or delete it first")
    if shard_bytes < 1:
        raise ValueError(f"shard_bytes={shard_bytes}: at least 1")
    dataset.prepare()
    index = describe(dataset, raw)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        frames = _encode_all(dataset, index, num_workers)
        index = _write_shards(partial, index, frames, shard_bytes)
        write_json(partial / INDEX, index.to_json(), indent=None)
        read_index((partial / INDEX).read_bytes(), f"{folder}/{INDEX}")  # validates it
        partial.chmod(0o755)  # mkdtemp makes it private, but sets are shared
        partial.rename(folder)
    except OSError as error:
        if error.filename is not None:
            raise
        message = f"{error.strerror or error} while packing {len(dataset)} frames"
        raise OSError(error.errno, message, str(folder)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return index


def describe(dataset: HandDataset, raw: bool) -> PackedIndex:
    """The index of a prepared dataset, without the byte ranges of its frames.

    Raises:
        ValueError: if samples have cached features, or recordings do not follow from names.
    """
    first = dataset[0]
    if first.features is not None:
        raise ValueError("frames with cached features: pack the dataset without the cache")
    names = [str(name) for name in dataset.names]
    if any(dataset.recording(i) != name.rpartition("/")[0] for i, name in enumerate(names)):
        raise ValueError(f"{type(dataset).__name__}: its recordings do not match its names")
    return PackedIndex(
        dataset=type(dataset).__name__,
        content_key=dataset.content_key,
        fps=dataset.fps,
        convention=dataset.convention,
        leaderboard=dataset.leaderboard,
        protocol=dataset.protocol,
        crop_px=first.camera.crop_px,
        image_px=first.image.shape[-1],
        raw=raw,
        planar=first.image[0].is_contiguous(),
        labels=first.labels is not None,
        names=names,
        left=[i for i in range(len(dataset)) if dataset.is_left(i)],
        segments=[[int(i) for i in segment] for segment in dataset.segments()],
        labels_sha256=_digest(dataset) if first.labels is not None else None,
        visible=first.labels is not None and first.labels.visible is not None,
    )


def _digest(dataset: HandDataset) -> str:
    """SHA-256 of the bytes of all labels, NaN included."""
    digest = hashlib.sha256()
    for i in range(len(dataset)):
        labels = dataset.labels_of(i)
        if labels is not None:
            for values in label_tensors(labels).values():
                digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def _write_shards(
    folder: Path, index: PackedIndex, frames: Iterator[tuple[bytes, bytes]], shard_bytes: int
) -> PackedIndex:
    """Write the shards; returns the index with the byte ranges of the frames."""
    header = npy_header(index.record)
    shards: list[tuple[str, int, int]] = []
    offsets: list[int] = []
    lengths: list[int] = []
    checksums: list[int] = []
    while len(offsets) < len(index.names):
        name, before = f"frames-{len(shards):06d}.tar", len(offsets)
        with (folder / name).open("wb") as file:
            for png, record in frames:
                stem = f"{len(offsets):08d}"
                members = _member(f"{stem}.png", png) if png else b""
                members += _member(f"{stem}.npy", header + record)
                # A frame's range starts after the first header and ends before the padding.
                begin = BLOCK if png else BLOCK + len(header)
                end = len(members) - -(len(header) + len(record)) % BLOCK
                offsets.append(file.tell() + begin)
                lengths.append(end - begin)
                checksums.append(zlib.crc32(members[begin:end]))
                file.write(members)
                if file.tell() >= shard_bytes:
                    break
            file.write(bytes(2 * BLOCK))  # the end of a tar file
            shards.append((name, file.tell(), len(offsets) - before))
    return replace(index, shards=shards, offsets=offsets, lengths=lengths, crc32=checksums)


def _member(name: str, data: bytes) -> bytes:
    """A file in a tar file: header, content and padding."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    return entry.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % BLOCK)


def _encode_all(
    dataset: HandDataset, index: PackedIndex, num_workers: int
) -> Iterator[tuple[bytes, bytes]]:
    loader = DataLoader(
        _Encoded(dataset, index),
        batch_size=None,
        num_workers=num_workers if len(dataset) > _FEW else 0,
        collate_fn=_unchanged,
        generator=torch.Generator(),  # does not advance the global random state
    )
    for frame in progress(loader, "packing", len(dataset), "frame"):
        if isinstance(frame, Exception):
            raise frame
        yield frame


class _Encoded(Dataset[Any]):
    """The bytes of every frame, so that a ``DataLoader`` can distribute them over processes."""

    def __init__(self, dataset: HandDataset, index: PackedIndex) -> None:
        self.dataset, self.index = dataset, index

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, number: int) -> tuple[bytes, bytes] | Exception:
        try:
            return encode_frame(self.dataset[number], self.index)
        except (ValueError, OSError) as error:  # a worker would wrap it in a traceback
            return error


def _unchanged(value: Any) -> Any:
    return value
