"""The pictures of a clip: its hand over every frame, as a movie and as PNG files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from s2hand.cli.inference import draw_overlay
from s2hand.data.frames import FramesDataset
from s2hand.export.movie import MovieWriter
from s2hand.export.overlay import draw_note
from s2hand.files import atomic_path
from s2hand.types import Render


class DrawnHand(NamedTuple):
    """What a picture needs to know of its hand."""

    row: int
    """Index of the frame in its dataset."""
    stem: str
    """Name of the frame's files."""
    joints_px: Float[np.ndarray, "21 2"]
    """In the whole picture."""
    render: Render | None
    """Of the crop, [3, h, w]; absent where no picture is asked for."""


def check_one_size(dataset: FramesDataset, numbers: Sequence[int]) -> None:
    """Raise ValueError naming the first of these pictures that has another size than the first."""
    first = dataset.source_sizes[numbers[0]]
    for number in numbers:
        size = dataset.source_sizes[number]
        if (size != first).any():
            raise ValueError(
                f"{dataset.source}: {dataset.source_names[number]} is {size[0]} x {size[1]} pixels,"
                f" {dataset.source_names[numbers[0]]} {first[0]} x {first[1]}: a movie has one "
                "size; leave mp4 out of formats"
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
    """Draw the hands as they come; ``out/overlay.mp4``, ``out/png/<stem>.png`` as asked for.

    Args:
        dataset: where the pictures come from.
        numbers: of the source's frames, those that the movie shows.
        with_hand: those of them that have a hand; the others are shown plain, with a note.
        hands: one for each frame with a hand, in order.
        out: the folder.
        formats: those with ``mp4`` or ``png`` are written.
        fps: frames per second of the movie.
    """
    with ExitStack() as stack:
        movie = None
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
            if "mp4" not in formats:
                continue
            if movie is None:
                movie = stack.enter_context(MovieWriter(out / "overlay.mp4", fps, picture.size))
            movie.write(image)
