"""How many frames of a sequence a sample holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A run of ``frames`` frames, ``stride`` frames apart; an image is ``Window(1, 1)``.

    ``overlap`` is how many frames one window shares with the next of its sequence, less than
    ``frames``; None lets a window begin at every frame.
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
                f"0 to {self.frames - 1} frames; null lets one begin at every frame"
            )

    @property
    def span(self) -> int:
        """Frames from the first to the last of a window, both counted."""
        return (self.frames - 1) * self.stride + 1

    @property
    def step(self) -> int:
        """Frames from the beginning of one window to that of the next."""
        return 1 if self.overlap is None else (self.frames - self.overlap) * self.stride
