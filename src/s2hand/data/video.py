"""Frames from disk, upright: a folder of pictures, or a video decoded by PyAV."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Protocol

import av
from PIL import Image, ImageOps

from s2hand.data.detections import Detections

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_PROBE_BYTES = 1 << 16
_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


class FrameSource(Protocol):
    """Frames in order, and how detections find them."""

    def join(self, detections: Detections) -> Detections:
        """One row per frame, named as the frame; ValueError naming a frame that has none."""
        ...

    def sizes(self) -> Iterator[tuple[int, int]]:
        """(width, height) of each upright frame; endless for a video, whose frames are alike."""
        ...

    def images(self, positions: Sequence[int], total: int) -> Iterator[Image.Image]:
        """The upright RGB frames at increasing positions of ``total``."""
        ...

    def key(self) -> list[list[str | int]]:
        """What identifies the content."""
        ...


class Pictures:
    """One image file, or those of a folder but for ``skip`` in natural order (2 before 10)."""

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
        """By name."""
        return detections.of_images([file.name for file in self.files])

    def sizes(self) -> Iterator[tuple[int, int]]:
        """From the files' headers."""
        return map(image_size, self.files)

    def images(self, positions: Sequence[int], total: int) -> Iterator[Image.Image]:
        """Read one after the other."""
        return (read_image(self.files[position]) for position in positions)

    def key(self) -> list[list[str | int]]:
        """The key of every file."""
        return [file_key(file) for file in self.files]


class Video:
    """The frames of a video file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def join(self, detections: Detections) -> Detections:
        """By frame number, from 0."""
        return detections.of_video()

    def sizes(self) -> Iterator[tuple[int, int]]:
        """The size of the first frame, again and again."""
        first = next(read_video(self.path), None)
        if first is None:
            raise ValueError(f"{self.path} holds no video frame")
        return repeat(first.size)

    def images(self, positions: Sequence[int], total: int) -> Iterator[Image.Image]:
        """Decode in order; the video must have exactly ``total`` frames."""
        wanted = frozenset(positions)
        number = -1
        for number, image in enumerate(read_video(self.path)):
            if number == total:
                raise ValueError(f"{self.path}: frame {number:06d} has no detection ({total} have)")
            if number in wanted:
                yield image
        if number + 1 != total:
            raise ValueError(
                f"{self.path} ends after {number + 1} frames, but {total} have detections; "
                "is it cut short, or are they of another video?"
            )

    def key(self) -> list[list[str | int]]:
        """The key of the file."""
        return [file_key(self.path)]


def open_source(path: Path, skip: Collection[str] = ()) -> FrameSource:
    """A folder or an image file as :class:`Pictures`, any other file as :class:`Video`."""
    if path.is_dir() or (path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES):
        return Pictures(path, skip)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such video file or folder of images")
    if skip:
        raise ValueError(f"skip={list(skip)}: only pictures of a folder can be skipped")
    return Video(path)


def read_image(path: Path) -> Image.Image:
    """An image as RGB, turned upright by its EXIF orientation.

    Raises:
        ValueError: naming the file, if it is empty, truncated or no image.
    """
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read image {path}: {error}") from error


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of an upright image, from its header alone.

    Raises:
        ValueError: naming the file, if it is empty or no image.
    """
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(_EXIF_ORIENTATION, 1) >= 5  # 5 to 8: a quarter turn
            return image.size[::-1] if turned else image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read image {path}: {error}") from error


def read_video(path: Path) -> Iterator[Image.Image]:
    """Every frame of a video as upright RGB, in order; no ffmpeg program is needed.

    Raises:
        ValueError: naming the file and how many frames could be decoded.
    """
    decoded = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path} has no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                image = frame.to_image()
                turn = _UPRIGHT.get(frame.rotation % 360)  # degrees counter-clockwise
                yield image if turn is None else image.transpose(turn)
                decoded += 1
    except av.FFmpegError as error:
        raise ValueError(f"cannot decode {path} after {decoded} frames: {error}") from error


def file_key(path: Path) -> list[str | int]:
    """What identifies a file without reading all of it: name, size, time, head and tail."""
    status = path.stat()
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_PROBE_BYTES))
        file.seek(max(0, status.st_size - _PROBE_BYTES))
        digest.update(file.read())
    return [path.name, status.st_size, status.st_mtime_ns, digest.hexdigest()[:16]]


def _natural_order(path: Path) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", path.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
