"""The packed form of a dataset, ``s2hand.packed/1``: tar shards and an index.

The shards follow WebDataset: plain tar files with ``00000012.npy`` (frame 12, pixels and numbers in
one numpy record; or numbers alone, after ``00000012.png``). WebDataset and ``tar`` can read them.
``index.json`` adds the byte range of each frame. Training needs random access: its order over
windows of frames depends on the seed and the batches seen, whereas WebDataset reads a shard from
its beginning, shuffles in a buffer and resumes by the shard. LitData has random access, but its
index chooses the decoder, including Python's pickle, and frames are untrusted. Here a frame is one
byte range, read through fsspec and decoded as numbers of known types and shapes or as PNG; nothing
in it is executed. docs/datasets/packed.md describes the files.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int

from s2hand.geometry.skeleton import NUM_JOINTS, NUM_VERTICES, JointConvention

SCHEMA = "s2hand.packed/1"
INDEX = "index.json"
_SHARD = re.compile(r"frames-\d{6}\.tar")
_LARGEST_PX = 4096


@dataclass(frozen=True)
class PackedIndex:
    """Content of ``index.json``: metadata of a dataset and the byte ranges of its frames."""

    dataset: str
    """Class of the packed dataset, for messages."""
    content_key: str
    """Content key of the packed dataset; equal frames have equal keys."""
    fps: float | None
    convention: str | None
    leaderboard: str | None
    protocol: str | None
    crop_px: int
    """Side of the crop that keypoints and K refer to."""
    image_px: int
    """Side of the images."""
    raw: bool
    """Whether pixels are stored in the record, [3, h, w] uint8, instead of in a PNG."""
    planar: bool
    """Whether an image tensor is stored channel by channel instead of pixel by pixel. The order of
    a convolution's sums depends on it, and with it the last bits of a run."""
    labels: bool
    names: list[str]
    left: list[int]
    """Indices of the frames with left hands."""
    segments: list[list[int]]
    shards: list[tuple[str, int, int]] = field(default_factory=list)
    """Name, size in bytes and number of frames of each shard, in order."""
    offsets: list[int] = field(default_factory=list)
    """Start of each frame in its shard, after the header of its first file."""
    lengths: list[int] = field(default_factory=list)
    """Bytes of each frame, from its start to the end of its record, which is last."""
    crc32: list[int] = field(default_factory=list)
    """Checksum of these bytes, per frame."""
    labels_sha256: str | None = None
    """Digest of all labels in order; the content key covers images and detections only."""
    visible: bool = False
    """Whether the labels include the joints that the benchmark counts."""

    @cached_property
    def record(self) -> np.dtype[np.void]:
        """The numpy type of a frame's numbers."""
        fields: list[tuple[str, str, tuple[int, ...]]] = [
            ("keypoints", "<f4", (NUM_JOINTS, 2)),
            ("confidence", "<f4", (NUM_JOINTS,)),
            ("intrinsics", "<f4", (3, 3)),
        ]
        if self.labels:
            fields += [("joints", "<f4", (NUM_JOINTS, 3)), ("vertices", "<f4", (NUM_VERTICES, 3))]
        if self.visible:
            fields.append(("visible", "|b1", (NUM_JOINTS,)))
        if self.raw:
            fields.append(("image", "|u1", (3, self.image_px, self.image_px)))
        return np.dtype(fields)

    @cached_property
    def left_frames(self) -> frozenset[int]:
        """``left`` as a set, for fast lookup."""
        return frozenset(self.left)

    @property
    def bytes(self) -> int:
        """Total size of the shards."""
        return sum(size for _, size, _ in self.shards)

    def shard_of(self) -> Int[np.ndarray, " n"]:
        """The shard of every frame."""
        return np.repeat(np.arange(len(self.shards)), [count for *_, count in self.shards])

    def to_json(self) -> dict[str, Any]:
        """The content of the file."""
        return {"schema": SCHEMA, **dataclasses.asdict(self)}


def read_index(text: bytes, path: str) -> PackedIndex:
    """The index from a file's content; every field is validated.

    Raises:
        ValueError: naming the file and the problem.
    """
    problem, index = _parse(text)
    if index is None:
        raise ValueError(
            f"{path}: {problem}; repack the dataset (s2hand-data pack) or copy {INDEX} again"
        )
    return index


def _parse(text: bytes) -> tuple[str, PackedIndex | None]:
    """A problem and None, or "" and the index."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"not readable, cut short? ({error})", None
    found = content.get("schema") if isinstance(content, dict) else None
    if found != SCHEMA:
        return f"schema {str(found)[:80]!r}, this version reads {SCHEMA!r}", None
    # Early versions did not write these fields.
    content = {"protocol": None, "labels_sha256": None, "visible": False, **content}
    fields = {f.name for f in dataclasses.fields(PackedIndex)}
    mismatched = fields ^ (set(content) - {"schema"})
    if mismatched:
        return f"missing or unknown: {', '.join(sorted(mismatched))[:80]}", None
    bad = [name for name in fields if not _CHECKS.get(name, _is_whole_list)(content[name])]
    if bad:
        return f"{min(bad)}={str(content[min(bad)])[:80]} is not valid", None
    content["shards"] = [tuple(shard) for shard in content["shards"]]
    index = PackedIndex(**{name: content[name] for name in fields})
    problem = _inconsistency(index)
    return (problem, None) if problem else ("", index)


def _inconsistency(index: PackedIndex) -> str | None:
    count = len(index.names)
    if not count or len(set(index.names)) < count:
        return "no frames, or two frames with the same name"
    if {len(index.offsets), len(index.lengths), len(index.crc32)} != {count}:
        return f"{count} names, but not as many offsets, lengths and checksums"
    if sum(frames for *_, frames in index.shards) != count:
        return f"{count} names, but not as many frames in the shards"
    ends = np.array(index.offsets) + np.array(index.lengths)
    sizes = np.array([size for _, size, _ in index.shards])[index.shard_of()]
    if (ends > sizes).any() or min(index.lengths) < index.record.itemsize:
        return "frames that are not within their shards"
    inside = [i for segment in index.segments for i in segment]
    if len(set(inside)) < len(inside) or any(i >= count for i in [*inside, *index.left]):
        return "segments or left frames that do not exist, or frames in two segments"
    return None


def _is_whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_whole_list(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_whole, value))


def _is_side(value: Any) -> bool:
    return _is_whole(value) and 0 < value <= _LARGEST_PX


def _is_shard(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 3:
        return False
    name, size, frames = value
    # Other names could make an untrusted index read files outside its folder.
    valid_name = isinstance(name, str) and _SHARD.fullmatch(name) is not None
    return valid_name and _is_whole(size) and _is_whole(frames)


def _is_name(value: Any) -> bool:
    # Output files are named after frames; no name may lead out of the folder.
    if not isinstance(value, str) or any(c == "\\" or ord(c) < 32 for c in value):
        return False
    return not {"", ".", ".."} & set(value.split("/"))


def _is_rate(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < 1e6  # False for NaN


def _is_convention(value: Any) -> bool:
    try:
        return value is None or bool(JointConvention.preset(value))
    except (ValueError, TypeError):
        return False


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "dataset": lambda value: isinstance(value, str),
    "content_key": lambda value: isinstance(value, str),
    "fps": lambda value: value is None or _is_rate(value),
    "convention": _is_convention,
    "leaderboard": lambda value: value in (None, "freihand", "ho3d"),
    **dict.fromkeys(
        ("protocol", "labels_sha256"), lambda value: value is None or isinstance(value, str)
    ),
    "crop_px": _is_side,
    "image_px": _is_side,
    **dict.fromkeys(("raw", "planar", "labels", "visible"), lambda v: isinstance(v, bool)),
    "names": lambda value: isinstance(value, list) and all(map(_is_name, value)),
    "segments": lambda value: isinstance(value, list) and all(map(_is_whole_list, value)),
    "shards": lambda value: isinstance(value, list) and all(map(_is_shard, value)),
}
"""The check of each field of the index; fields not named here are lists of whole numbers."""
