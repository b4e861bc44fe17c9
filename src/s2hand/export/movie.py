"""Images as an H.264 film that all players open."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import cast

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from jaxtyping import UInt8
from typing_extensions import Self

from s2hand.files.atomic import atomic_path

_BT709 = 1  # primaries, transfer function and matrix (ITU-T H.273), the default of players


class MovieWriter:
    """Writes RGB images of one size as ``.mp4``.

    The film appears only when the ``with`` block ends without an error; until then an older one is
    unchanged. The pixel format of all players (4:2:0) has even sizes only, so an odd width or
    height grows by a copy of the last column or row.

        with MovieWriter("overlay.mp4", fps=30, size=(640, 480)) as movie:
            movie.write(image)
    """

    def __init__(
        self,
        path: str | Path,
        fps: float,
        size: tuple[int, int],
        crf: int = 18,
        keyframe_every: int | None = None,
    ) -> None:
        """Set the format.

        Args:
            path: ``.mp4``.
            fps: frames per second.
            size: (width, height) of all images, pixels.
            crf: constant rate factor of x264: 18 shows no loss, 6 more halve the file.
            keyframe_every: largest distance of key frames, in frames. To seek, a player decodes
                from the previous key frame. None: x264's default.

        Raises:
            ValueError: for another suffix, or a rate or size that is not above 0.
        """
        self.path, self.size = Path(path), size
        if self.path.suffix.lower() != ".mp4":
            raise ValueError(f"cannot write {path}: a film is a .mp4")
        if not 0 < fps <= 1000 or min(size) < 1:
            raise ValueError(f"cannot write {path}: {fps} frames per second of {size} pixels")
        self.options = {"crf": str(crf), "preset": "veryfast"}  # a third of the default's time
        if keyframe_every is not None:
            self.options["g"] = str(keyframe_every)
        self.rate = Fraction(fps).limit_denominator(1001)  # television rates are k/1001
        self.frames = 0

    def __enter__(self) -> Self:
        """Open a temporary file beside the film's path."""
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            self._container = stack.enter_context(av.open(str(temporary), "w"))
            self._stream = cast(VideoStream, self._container.add_stream("libx264", self.rate))
            self._stream.width, self._stream.height = (n + n % 2 for n in self.size)
            self._stream.pix_fmt = "yuv420p"
            self._stream.options = {**self.options}
            context = self._stream.codec_context
            context.color_primaries = context.color_trc = context.colorspace = _BT709
            context.color_range = ColorRange.MPEG
            stack.push(self._finish)
            self._stack = stack.pop_all()
        return self

    def write(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Append an image.

        Raises:
            ValueError: if it is not RGB bytes of the film's size.
        """
        width, height = self.size
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            raise ValueError(
                f"{self.path}: image {self.frames} is {image.dtype} {image.shape}, the film takes "
                f"uint8 {(height, width, 3)}"
            )
        even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(even, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the film and move it into place, or remove it after an error."""
        self._stack.__exit__(kind, error, trace)

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write the frames that the encoder still holds."""
        if kind is None and self.frames == 0:
            raise ValueError(f"cannot write {self.path}: no image was written")
        if kind is None:
            self._container.mux(self._stream.encode(None))
