"""Videos decoded by PyAV: upright frames in order, when they are shown, and where damage begins.

A frame is known by its number: that is how detections find it. So reading ends at the first sign of
damage, since decoders leave out what they cannot read, and behind it no number is sure. What a
decoder takes for sound, or patches without a word, keeps its number and is read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float
from PIL import Image
from rich.console import Console
from rich.progress import track

_UPRIGHT = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}
_GAP = 1.5  # between two frames, in the usual time between frames: one may be missing
_REORDERED = 16  # frames that a decoder may hold back (H.264, annex A)
_NEAR = 30  # frames: to decode so many is no slower than to look for a key frame
_DEFAULT_FPS = 30.0  # of files that say nothing about time


@dataclass(frozen=True)
class VideoScan:
    """What one pass over a video has found."""

    size: tuple[int, int]
    """(width, height) of the upright frames, pixels."""
    times: Float[np.ndarray, " n"]
    """When each frame that can be read is shown: seconds from the first one, increasing."""
    step: float
    """Median time between two frames, seconds."""
    seconds: float
    """Duration that the file announces; 0 where it does not."""
    problem: str | None
    """What ended the reading, naming the file; None if the file's end was reached."""

    def first_of(self, expected: int) -> int | None:
        """How many leading frames are surely the first of the ``expected`` that there once were.

        All of them, if none is missing. If the file breaks off, at damage or before the end that it
        announces, those before a gap in time among the last, which come out of order: the file may
        hold one whose predecessor is lost. If time has one gap, as long as the missing frames,
        those before it. None if nothing in the file tells that there were more.
        """
        readable = len(self.times)
        steps = np.diff(self.times) / self.step
        gaps = np.flatnonzero(steps > _GAP)
        if readable == expected:
            return readable
        if self.problem or self.seconds - self.times[-1] > (1 + _GAP) * self.step:
            return int(min(gaps[gaps >= readable - _REORDERED], default=readable - 1)) + 1
        if len(gaps) == 1 and round(steps[gaps[0]]) - 1 == expected - readable:
            return int(gaps[0]) + 1
        return None


def scan_video(path: Path) -> VideoScan:
    """Decode a video to learn what can be read of it; known in this process while the file stays.

    Several times faster than :func:`read_video`, because no frame is converted to RGB.

    Raises:
        ValueError: naming the file, if not one frame can be read.
    """
    status = path.stat()
    return _scan(path, status.st_size, status.st_mtime_ns)


def read_video(path: Path, wanted: Collection[int] | None = None) -> Iterator[Image.Image]:
    """The frames of a video as upright RGB, in order; no ffmpeg program is needed.

    Args:
        path: the file.
        wanted: numbers of the frames to give, from 0; None is all of them.

    Raises:
        ValueError: where damage begins, naming the file and how many frames could be decoded.
    """
    end = None if wanted is None else max(wanted, default=-1) + 1
    for number, frame in enumerate(islice(_decode(path), end)):
        if wanted is None or number in wanted:
            turn = _UPRIGHT.get(frame.rotation % 360)  # degrees counter-clockwise
            image = frame.to_image()
            yield image if turn is None else image.transpose(turn)


class FilmReader:
    """Any frame of a film of constant rate, such as the package writes, by its number.

    It decodes from the key frame before it, or goes on from the frame given last.

    Raises:
        ValueError: naming the file, if it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        _header(path)  # says what is wrong with it
        self._container = av.open(str(path))
        self._stream = self._container.streams.video[0]
        self._decoded = self._container.decode(self._stream)
        self._next = 0
        self._start = self._stream.start_time or 0
        rate = float(self._stream.average_rate or _DEFAULT_FPS)
        self._ticks = 1 / rate / float(self._stream.time_base or 1)
        """Between two frames."""

    def __getitem__(self, number: int) -> Image.Image:
        """The frame, RGB.

        Raises:
            IndexError: if the film has no such frame.
            ValueError: naming the file, where it is damaged.
        """
        try:
            if not self._next <= number < self._next + _NEAR:
                begin = int(self._start + number * self._ticks)
                self._container.seek(begin, stream=self._stream)
                self._decoded = self._container.decode(self._stream)
            for frame in self._decoded:
                self._next = round(((frame.pts or 0) - self._start) / self._ticks) + 1
                if self._next > number:
                    return frame.to_image()
        except av.FFmpegError as error:
            raise ValueError(f"cannot decode {self.path}: {error.strerror}") from error
        raise IndexError(f"{self.path} has no frame {number}")


def _decode(path: Path) -> Iterator[av.VideoFrame]:
    decoded = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path} has no video stream")
            stream = container.streams.video[0]
            # Threads over frames would lose those under way when one fails, now these, now those.
            stream.thread_type = "SLICE"
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise ValueError(f"cannot decode {path} after {decoded} frames: it is damaged")
                yield frame
                decoded += 1
    except av.FFmpegError as error:
        raise ValueError(
            f"cannot decode {path} after {decoded} frames: {error.strerror}"
        ) from error


@lru_cache(maxsize=16)
def _scan(path: Path, *_version: int) -> VideoScan:
    seconds, fps = _header(path)
    stamps: list[float | None] = []
    size, problem = (0, 0), None
    console = Console(stderr=True)
    frames = track(
        _decode(path),
        description=f"reading {path.name}",
        total=int(seconds * fps) or None,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    try:
        for frame in frames:
            stamps.append(frame.time)
            turned = frame.rotation % 180 != 0
            size = (frame.height, frame.width) if turned else (frame.width, frame.height)
    except ValueError as error:
        problem = str(error)
    if not stamps:
        raise ValueError(problem or f"{path} holds no video frame")
    times = _times(stamps, fps)
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1 / fps
    return VideoScan(size, times, step, seconds, problem)


def _header(path: Path) -> tuple[float, float]:
    """Seconds that a file announces, 0 where it does not; frames per second."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path} has no video stream")
            stream = container.streams.video[0]
            # The file's own duration may be that of its sound.
            seconds = (container.duration or 0) / av.time_base
            if stream.duration and stream.time_base:
                seconds = float(stream.duration * stream.time_base)
            return seconds, float(stream.average_rate or _DEFAULT_FPS)
    except av.FFmpegError as error:
        raise ValueError(f"cannot decode {path} after 0 frames: {error.strerror}") from error


def _times(stamps: list[float | None], fps: float) -> Float[np.ndarray, " n"]:
    """The file's own time stamps, or a constant rate where they are missing or go back."""
    known = np.array([np.nan if stamp is None else stamp for stamp in stamps])
    increasing = np.isfinite(known).all() and (np.diff(known) > 0).all()
    return known - known[0] if increasing else np.arange(len(known)) / fps
