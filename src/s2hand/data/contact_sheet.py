"""A contact sheet of crops, to see at a glance whether the keypoints are on the hands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from s2hand.data.base import HandDataset
from s2hand.export.overlay import draw_detections
from s2hand.files.atomic import atomic_path

CELLS = 24
COLUMNS = 6


def write_contact_sheet(path: Path, dataset: HandDataset, usable: Sequence[int]) -> None:
    """Draw up to 24 of the usable frames, spread evenly, into an image file."""
    chosen = np.unique(np.linspace(0, len(usable) - 1, CELLS).astype(int))
    sheet = contact_sheet(dataset, [usable[i] for i in chosen])
    with atomic_path(path) as temporary:
        sheet.save(temporary)


def contact_sheet(
    dataset: HandDataset, indices: Sequence[int], columns: int = COLUMNS
) -> Image.Image:
    """Crops with their detected keypoints, row by row; the side of each is ``crop_px``."""
    cells = []
    for index in indices:
        sample = dataset[index]
        size = sample.camera.crop_px
        pixels = (sample.image[0].permute(1, 2, 0) * 255).round().byte().numpy()
        picture = np.asarray(Image.fromarray(pixels).resize((size, size)))
        keypoints, confidence = sample.keypoints[0].numpy(), sample.confidence[0].numpy()
        cells.append(draw_detections(picture, keypoints, confidence))
    side = len(cells[0])
    sheet = Image.new("RGB", (columns * side, -(-len(cells) // columns) * side))
    for i, cell in enumerate(cells):
        sheet.paste(Image.fromarray(cell), (i % columns * side, i // columns * side))
    return sheet
