"""A video or pictures read for detection: unreadable frames are left out and listed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from s2hand.data.frames.sources import Pictures, Video, open_source, read_image

_FPS = 30.0  # nominal rate of consecutive pictures; only their order matters


class SourceFrames:
    """The frames of a video, a picture or a folder of pictures, for one iteration.

    Args:
        path: a video, a picture, or a folder of pictures.

    Raises:
        FileNotFoundError, ValueError: if there is no such source, or no frame can be read.
    """

    def __init__(self, path: Path) -> None:
        self._source = open_source(path)
        self.names: list[str] = []
        """Of the frames read so far: frame numbers of a video, file names of pictures."""
        self.sizes: set[tuple[int, int]] = set()
        """Their different (width, height)."""
        self.broken: list[str] = []
        """A message for each part that could not be read, with the reason."""
        if isinstance(self._source, Video) and self._source.scan.problem:
            self.broken.append(f"{self._source.scan.problem}; the frames before that are used")

    @property
    def is_video(self) -> bool:
        """Whether the source is a video, so its frames are consecutive."""
        return isinstance(self._source, Video)

    def __len__(self) -> int:
        source = self._source
        return len(source.scan.times if isinstance(source, Video) else source.files)

    def __iter__(self) -> Iterator[tuple[UInt8[np.ndarray, "h w 3"], float]]:
        """Upright RGB and time in seconds of every frame that can be read, in order."""
        source = self._source
        frames = _frames(source) if isinstance(source, Video) else self._pictures(source)
        for name, image, seconds in frames:
            self.names.append(name)
            self.sizes.add(image.size)
            yield np.asarray(image), seconds
        if not self.names:
            raise ValueError(f"no picture can be read: {self.broken[0]}")

    def _pictures(self, pictures: Pictures) -> Iterator[tuple[str, Image.Image, float]]:
        for number, file in enumerate(pictures.files):
            try:
                image = read_image(file)
            except (ValueError, OSError) as error:
                self.broken.append(f"left out: {error}")
                continue
            yield file.name, image, number / _FPS


def _frames(video: Video) -> Iterator[tuple[str, Image.Image, float]]:
    times = video.scan.times.tolist()
    for number, image in enumerate(video.images(range(len(times)))):
        yield f"{number:06d}", image, times[number]
