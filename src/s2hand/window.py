"""The frames of a sequence that make one sample."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A run of ``frames`` frames, ``stride`` frames apart; an image is ``Window(1, 1)``.

    ``overlap`` is the number of frames that successive windows of a sequence share, less than
    ``frames``; with None a window begins at every frame.

    >>> Window(frames=5, stride=2).span
    9
    """

    frames: int = 1
    stride: int = 1
    overlap: int | None = None

    def __post_init__(self) -> None:
        if self.frames < 1 or self.stride < 1:
            raise ValueError(
                f"Window(frames={self.frames}, stride={self.stride}): both must be at least 1"
            )
        if self.overlap is not None and not 0 <= self.overlap < self.frames:
            raise ValueError(
                f"Window(frames={self.frames}, overlap={self.overlap}): successive windows share "
                f"0 to {self.frames - 1} frames; with null one begins at every frame"
            )

    @property
    def span(self) -> int:
        """Frames from the first to the last of a window, both counted."""
        return (self.frames - 1) * self.stride + 1

    @property
    def step(self) -> int:
        """Frames from the start of one window to the start of the next."""
        return 1 if self.overlap is None else (self.frames - self.overlap) * self.stride
