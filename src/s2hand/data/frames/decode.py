"""Videos decoded by PyAV: upright frames in order, their times, and where damage begins.

Frames are identified by number, also in detections. Decoders leave out frames that they cannot
read, so after damage the numbers are unreliable, and reading ends at its first sign. Frames that a
decoder accepts, or repairs silently, keep their numbers and are read.
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
_GAP = 1.5  # time between two frames, in median steps, above which one may be missing
_REORDERED = 16  # frames that a decoder may reorder (H.264, annex A)
_NEAR = 30  # frames; decoding these is as fast as seeking a key frame
_DEFAULT_FPS = 30.0  # for files without time information


@dataclass(frozen=True)
class VideoScan:
    """The result of one pass over a video."""

    size: tuple[int, int]
    """(width, height) of the upright frames, pixels."""
    times: Float[np.ndarray, " n"]
    """Presentation times of the readable frames: seconds from the first one, increasing."""
    step: float
    """Median time between two frames, seconds."""
    seconds: float
    """Duration in the file's header; 0 if it has none."""
    problem: str | None
    """The error that ended the reading, naming the file; None if its end was reached."""

    def first_of(self, expected: int) -> int | None:
        """How many leading frames are certainly the first of the ``expected`` original frames.

        It is the number of all frames if none is missing. If the file ends early, at damage or
        before its announced duration, it is the number before a gap in time among the last frames:
        frames are stored out of order, so one may remain whose predecessor is lost. If there is a
        single gap in time, as long as the missing frames, it is the number before that gap. None if
        nothing in the file shows that there were more frames.
        """
        # Gaps in time, in median steps.
        readable = len(self.times)
        steps = np.diff(self.times) / self.step
        gaps = np.flatnonzero(steps > _GAP)
        if readable == expected:
            return readable
        # The file ends early: the last frames may miss predecessors.
        if self.problem or self.seconds - self.times[-1] > (1 + _GAP) * self.step:
            return int(min(gaps[gaps >= readable - _REORDERED], default=readable - 1)) + 1
        # Frames are missing in the middle.
        if len(gaps) == 1 and round(steps[gaps[0]]) - 1 == expected - readable:
            return int(gaps[0]) + 1
        return None


def scan_video(path: Path) -> VideoScan:
    """Decode a video to find its readable frames; cached in this process until the file changes.

    This is several times faster than :func:`read_video`, because no frame is converted to RGB.

    Raises:
        ValueError: naming the file, if no frame can be read.
    """
    status = path.stat()
    return _scan(path, status.st_size, status.st_mtime_ns)


def read_video(path: Path, wanted: Collection[int] | None = None) -> Iterator[Image.Image]:
    """The frames of a video as upright RGB, in order; no ffmpeg program is needed.

    Args:
        path: the file.
        wanted: numbers of the frames to return, from 0; None for all.

    Raises:
        ValueError: where damage begins, naming the file and how many frames could be decoded.
    """
    end = None if wanted is None else max(wanted, default=-1) + 1
    for number, frame in enumerate(islice(_decode(path), end)):
        if wanted is None or number in wanted:
            rotation = _UPRIGHT.get(frame.rotation % 360)  # degrees counter-clockwise
            image = frame.to_image()
            yield image if rotation is None else image.transpose(rotation)


class FilmReader:
    """Random access to the frames of a film of constant rate, such as the package writes.

    Decoding starts at the key frame before the frame, or continues from the last frame returned.

    Raises:
        ValueError: naming the file, if it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        _header(path)  # raises for a file that is not a video
        self._container = av.open(str(path))
        self._stream = self._container.streams.video[0]
        self._decoded = self._container.decode(self._stream)
        self._next = 0
        self._start = self._stream.start_time or 0
        rate = float(self._stream.average_rate or _DEFAULT_FPS)
        self._ticks = 1 / rate / float(self._stream.time_base or 1)
        """Time between two frames, in units of the stream's time base."""

    def __getitem__(self, number: int) -> Image.Image:
        """The frame, RGB.

        Raises:
            IndexError: if the film has no such frame.
            ValueError: naming the file, where it is damaged.
        """
        try:
            # Seek backwards or far ahead; otherwise decode on.
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
            # Threads over frames would lose an unpredictable number of frames when one fails.
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
            sideways = frame.rotation % 180 != 0
            size = (frame.height, frame.width) if sideways else (frame.width, frame.height)
    except ValueError as error:
        problem = str(error)
    if not stamps:
        raise ValueError(problem or f"{path} holds no video frame")
    times = _times(stamps, fps)
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1 / fps
    return VideoScan(size, times, step, seconds, problem)


def _header(path: Path) -> tuple[float, float]:
    """The duration in a file's header in seconds (0 if it has none), and its frames per second."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path} has no video stream")
            stream = container.streams.video[0]
            # The container's duration may be that of the sound, so prefer the stream's.
            seconds = (container.duration or 0) / av.time_base
            if stream.duration and stream.time_base:
                seconds = float(stream.duration * stream.time_base)
            return seconds, float(stream.average_rate or _DEFAULT_FPS)
    except av.FFmpegError as error:
        raise ValueError(f"cannot decode {path} after 0 frames: {error.strerror}") from error


def _times(stamps: list[float | None], fps: float) -> Float[np.ndarray, " n"]:
    """Times from the file's time stamps; from a constant rate if one is missing or decreases."""
    known = np.array([np.nan if stamp is None else stamp for stamp in stamps])
    increasing = np.isfinite(known).all() and (np.diff(known) > 0).all()
    return known - known[0] if increasing else np.arange(len(known)) / fps
