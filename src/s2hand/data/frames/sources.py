"""Frames from disk, upright: a folder of pictures, or a video."""

from __future__ import annotations

import hashlib
import io
import logging
import re
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageOps, UnidentifiedImageError

from s2hand.data.detections.base import Detections
from s2hand.data.frames.decode import VideoScan, read_video, scan_video
from s2hand.files.checksums import read_verified

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_PROBE_BYTES = 1 << 16
_EXIF_ORIENTATION = 0x0112
_REMEDY = "; fetch it again, or leave it out (skip)"


class FrameSource(Protocol):
    """Frames in order, with a way to join detections."""

    @property
    def times(self) -> Float[np.ndarray, " n"] | None:
        """Presentation times, seconds from the first frame, increasing; None for pictures."""
        ...

    @property
    def fps(self) -> float | None:
        """Mean number of frames per second; None for pictures."""
        ...

    def join(self, detections: Detections) -> Detections:
        """One row per frame, with the frame's name; ValueError naming a frame without a row."""
        ...

    def sizes(self) -> Iterator[tuple[int, int]]:
        """(width, height) of each upright frame; endless for a video, whose size is constant."""
        ...

    def images(self, positions: Sequence[int]) -> Iterator[Image.Image]:
        """The upright RGB frames at increasing positions."""
        ...

    def key(self) -> list[list[str | int]]:
        """Values that identify the content."""
        ...


class Pictures:
    """One image file, or a folder's without ``skip``, in natural order (2 before 10)."""

    times = None
    fps = None

    def __init__(self, folder: Path, skip: Collection[str] = ()) -> None:
        found = folder.iterdir() if folder.is_dir() else [folder]
        files = [f for f in found if f.suffix.lower() in IMAGE_SUFFIXES]
        if not files:
            raise ValueError(f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
        unknown = set(skip) - {f.name for f in files}
        if unknown:
            raise ValueError(f"skip={sorted(unknown)[0]!r}: no such image in {folder}")
        self.files = sorted((f for f in files if f.name not in skip), key=_natural_order)

    def join(self, detections: Detections) -> Detections:
        """Join by file name."""
        return detections.of_images([file.name for file in self.files])

    def sizes(self) -> Iterator[tuple[int, int]]:
        """Sizes from the files' headers."""
        return map(image_size, self.files)

    def images(self, positions: Sequence[int]) -> Iterator[Image.Image]:
        """The images, read one by one."""
        return (read_image(self.files[position]) for position in positions)

    def key(self) -> list[list[str | int]]:
        """The key of every file."""
        return [file_key(file) for file in self.files]


class Video:
    """The readable frames of a video file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def scan(self) -> VideoScan:
        """The result of one pass over the file."""
        return scan_video(self.path)

    @property
    def times(self) -> Float[np.ndarray, " n"]:
        """Times from the file's time stamps, which allow a variable rate."""
        return self.scan.times

    @property
    def fps(self) -> float:
        """Mean rate of the whole video; for a single frame the rate in the header."""
        times = self.scan.times
        return float((len(times) - 1) / times[-1]) if len(times) > 1 else 1 / self.scan.step

    def join(self, detections: Detections) -> Detections:
        """Join by frame number, from 0.

        For a damaged or truncated video only the rows of the readable frames are kept, with a
        warning.

        Raises:
            ValueError: if a frame has no row, or an undamaged video has fewer frames than rows.
        """
        found, scan = detections.of_video(), self.scan
        if len(found) < len(scan.times):
            raise ValueError(
                f"{self.path} has {len(scan.times)} frames, {found.source} only {len(found)}: run "
                "the detector on every frame; a frame without a hand needs confidence 0"
            )
        # More rows than frames: find those that certainly belong to the readable frames.
        readable = scan.first_of(len(found))
        if readable is None:
            raise ValueError(
                f"{self.path} ends after {len(scan.times)} frames, but {len(found)} have "
                "detections; is it truncated, or are they of another video?"
            )
        if scan.problem or readable < len(found):
            logger.warning(
                "%s: using its first %d frames, of %d with detections",
                scan.problem or f"{self.path} is truncated", readable, len(found),
            )  # fmt: skip
        return found.first(readable)

    def sizes(self) -> Iterator[tuple[int, int]]:
        """The size of the frames, endlessly."""
        return repeat(self.scan.size)

    def images(self, positions: Sequence[int]) -> Iterator[Image.Image]:
        """The frames, decoded in order up to the last position."""
        return read_video(self.path, frozenset(positions))

    def key(self) -> list[list[str | int]]:
        """The key of the file."""
        return [file_key(self.path)]


def open_source(path: Path, skip: Collection[str] = ()) -> Pictures | Video:
    """A folder or an image file as :class:`Pictures`, any other file as :class:`Video`."""
    if path.is_dir() or (path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES):
        return Pictures(path, skip)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such video file or folder of images")
    if skip:
        raise ValueError(f"skip={list(skip)}: only pictures of a folder can be skipped")
    return Video(path)


def read_image(path: Path, detected: bytes = b"") -> Image.Image:
    """An image as RGB, turned upright by its EXIF orientation.

    Args:
        path: the file.
        detected: the SHA-256 of the image recorded with its detections; empty if unknown.

    Raises:
        ValueError: naming the file, if it is empty, truncated, not an image, or its checksum
            differs.
    """
    return decode_image(read_verified(path, detected), path)


def decode_image(content: bytes, path: Path) -> Image.Image:
    """The bytes of an image file as RGB, turned upright by its EXIF orientation.

    Args:
        content: the bytes.
        path: the file, for messages.

    Raises:
        ValueError: naming the file, if it is empty, truncated or not an image.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError as error:  # its message names a buffer, not the file
        found = "it is empty, damaged or not an image"
        raise ValueError(f"cannot read image {path}: {found}{_REMEDY}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read image {path}: {error}{_REMEDY}") from error


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of an upright image, from its header alone.

    Raises:
        ValueError: naming the file, if it is empty or not an image.
    """
    try:
        with Image.open(path) as image:
            sideways = image.getexif().get(_EXIF_ORIENTATION, 1) >= 5  # 5 to 8: by 90 degrees
            return image.size[::-1] if sideways else image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read image {path}: {error}") from error


def file_key(path: Path) -> list[str | int]:
    """Values that identify a file without reading all of it: name, size, time, head and tail."""
    status = path.stat()
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_PROBE_BYTES))
        file.seek(max(0, status.st_size - _PROBE_BYTES))
        digest.update(file.read())
    return [path.name, status.st_size, status.st_mtime_ns, digest.hexdigest()[:16]]


def _natural_order(path: Path) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
