"""How many frames of a sequence a sample holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A run of ``frames`` frames, ``stride`` frames apart; an image is ``Window(1, 1)``."""

    frames: int = 1
    stride: int = 1

    def __post_init__(self) -> None:
        if self.frames < 1 or self.stride < 1:
            raise ValueError(
                f"Window(frames={self.frames}, stride={self.stride}): both must be at least 1"
            )

    @property
    def span(self) -> int:
        """Frames from the first to the last of a window, both counted."""
        return (self.frames - 1) * self.stride + 1
