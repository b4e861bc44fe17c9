"""The pictures of a clip: its hand over every frame, as films and as PNG files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from s2hand.data.frames.dataset import FramesDataset
from s2hand.export.movie import MovieWriter
from s2hand.export.overlay import draw_note
from s2hand.files.atomic import atomic_path
from s2hand.prediction.inference import draw_overlay
from s2hand.types import Render

FILMS = ("mp4", "preview")
"""The formats that are films; their pictures have one size."""
DRAWN = (*FILMS, "png")
"""The formats that show the hand over the picture."""
_PREVIEW_PX = 480  # widest half of the preview
_PREVIEW_CRF = 24
_PREVIEW_KEYFRAMES = 10  # so that viewers can jump to any frame


class DrawnHand(NamedTuple):
    """The data of a hand that its picture needs."""

    row: int
    """Index of the frame in its dataset."""
    stem: str
    """Name of the frame's files."""
    joints_px: Float[np.ndarray, "21 2"]
    """Pixels of the whole picture."""
    render: Render | None
    """Of the crop, [3, h, w]; None where no picture is drawn."""


def check_one_size(dataset: FramesDataset, numbers: Sequence[int]) -> None:
    """Raise ValueError naming the first picture whose size differs from the first picture's."""
    first = dataset.source_sizes[numbers[0]]
    for number in numbers:
        size = dataset.source_sizes[number]
        if (size != first).any():
            raise ValueError(
                f"{dataset.source}: {dataset.source_names[number]} is {size[0]} x {size[1]} pixels,"
                f" {dataset.source_names[numbers[0]]} {first[0]} x {first[1]}: a movie has one "
                "size; leave mp4 and preview out of formats"
            )


def write_film(
    dataset: FramesDataset,
    numbers: Sequence[int],
    with_hand: Collection[int],
    hands: Iterator[DrawnHand],
    out: Path,
    formats: Sequence[str],
    fps: float,
) -> None:
    """Draw the hands in order into the films and ``out/png/<stem>.png``.

    Args:
        dataset: the source of the pictures.
        numbers: the numbers of the source frames that the films show.
        with_hand: the numbers of frames with a hand; other frames are shown with a note.
        hands: one for each frame with a hand, in order.
        out: the folder.
        formats: those of :data:`DRAWN` are written.
        fps: frames per second of the films.
    """
    with ExitStack() as stack:
        films: _Films | None = None
        for number, picture in zip(numbers, dataset.source_pictures(numbers), strict=True):
            image = np.asarray(picture)
            if number in with_hand:
                hand = next(hands)
                assert hand.render is not None
                image = draw_overlay(dataset, hand.row, image, hand.render, hand.joints_px)
                if "png" in formats:
                    with atomic_path(out / "png" / f"{hand.stem}.png") as path:
                        Image.fromarray(image).save(path)
            else:
                image = draw_note(image, "no hand")
            films = films or _Films(stack, out, formats, fps, picture.size)
            films.write(picture, image)


class _Films:
    """``overlay.mp4`` and ``preview.mp4``, open as long as ``stack`` is.

    The preview has the picture on the left and the overlay on the right. Both have the same, even
    width, so that a viewer can cut the preview in the middle.
    """

    def __init__(
        self, stack: ExitStack, out: Path, formats: Sequence[str], fps: float, size: tuple[int, int]
    ) -> None:
        width = min(size[0], _PREVIEW_PX)
        height = max(1, round(size[1] * width / size[0]))
        width, height = width + width % 2, height + height % 2
        self.half = (width, height)
        self.overlay = self.preview = None
        if "mp4" in formats:
            self.overlay = stack.enter_context(MovieWriter(out / "overlay.mp4", fps, size))
        if "preview" in formats:
            writer = MovieWriter(
                out / "preview.mp4", fps, (2 * width, height), _PREVIEW_CRF, _PREVIEW_KEYFRAMES
            )
            self.preview = stack.enter_context(writer)

    def write(self, picture: Image.Image, overlay: UInt8[np.ndarray, "h w 3"]) -> None:
        """Append a frame."""
        if self.overlay is not None:
            self.overlay.write(overlay)
        if self.preview is not None:
            both = Image.new("RGB", (2 * self.half[0], self.half[1]))
            for left, half in ((0, picture), (self.half[0], Image.fromarray(overlay))):
                both.paste(half.resize(self.half, Image.Resampling.BILINEAR), (left, 0))
            self.preview.write(np.asarray(both))
