"""Steps that all predictions share: batches, the network with refinement, overlays, names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from s2hand.data.frames.dataset import FramesDataset
from s2hand.export.codes import Record, prediction_record
from s2hand.export.overlay import draw_skeleton, paste_crop
from s2hand.files.outputs import name_key
from s2hand.fitting.refinement import Refinement, refine_each
from s2hand.training.module import S2Hand
from s2hand.types import HandBatch, Prediction, Render

OVERLAY_PX = 448
"""Side of the rendered crop that is drawn over a picture."""


def batches(dataset: FramesDataset, positions: Sequence[int], size: int) -> Iterator[HandBatch]:
    """The frames at ``positions``, a batch [b, 1, ...] at a time."""
    for start in range(0, len(positions), size):
        yield HandBatch.stack([dataset[i] for i in positions[start : start + size]])


def predict(module: S2Hand, batch: HandBatch, refine_steps: int) -> Prediction:
    """Predict a batch, and refine each frame against its detections and pixels if asked for."""
    batch = batch.to(module.device)
    if refine_steps:
        refinement = Refinement(refine_steps)
        return refine_each(module.reconstructor, module.objective, batch, refinement)
    with torch.no_grad():
        return module.reconstructor(batch, render=False)


def left_hands(dataset: FramesDataset, count: int, device: torch.device) -> Bool[Tensor, "n 1"]:
    """Which of some frames show a left hand, as decoding takes it: all of a dataset, or none."""
    return torch.full((count, 1), dataset.mirrored, device=device)


def frames_record(
    module: S2Hand, dataset: FramesDataset, rows: Sequence[int], prediction: Prediction
) -> Record:
    """The record of some of a dataset's frames, left hands mirrored back."""
    hand = module.reconstructor.hand
    side: Literal["left", "right"] = "left" if dataset.mirrored else "right"
    chosen = list(rows)
    numbers = replace(prediction, render=None).to("cpu")
    return prediction_record(
        numbers, dataset.camera[chosen, None], hand.faces, hand.name,
        hand.fingerprint, [dataset.names[row] for row in chosen], side,
        dataset.frame_intrinsics[chosen], flat_hand_mean=hand.flat_hand_mean,
    )  # fmt: skip


def draw_overlay(
    dataset: FramesDataset,
    row: int,
    picture: UInt8[np.ndarray, "h w 3"],
    render: Render,
    joints_px: Float[np.ndarray, "21 2"],
) -> UInt8[np.ndarray, "h w 3"]:
    """The rendered crop of a frame [3, h, w] and its skeleton over the whole picture."""
    crop = render.image.movedim(0, -1).numpy(force=True)
    silhouette = render.silhouette.numpy(force=True)
    affine = dataset.affines[row].numpy()
    image = paste_crop(picture, crop, silhouette, affine, dataset.camera.crop_px)
    return draw_skeleton(image, joints_px, max(2.0, picture.shape[1] / 640))


def frame_stems(names: Sequence[str]) -> list[str]:
    """A file name without suffix for each frame; none leads out of the output folder.

    The names are distinct on every file system, also where case does not count. A name that is
    shared gets the number of its frame.

    Example:
        >>> frame_stems(["a.jpg", "A.png", "b.png"])
        ['a-000000', 'A-000001', 'b']
    """
    bare = [Path(name.replace("\\", "/")).name.rsplit(".", 1)[0] for name in names]
    stems = [name.lstrip(".") or "frame" for name in bare]
    count = Counter(map(name_key, stems))
    taken = {key for key, n in count.items() if n == 1}
    for i, stem in enumerate(stems):
        if count[name_key(stem)] > 1:
            numbered = f"{stem}-{i:06d}"
            while name_key(numbered) in taken:  # another frame has this name
                numbered += "-"
            taken.add(name_key(numbered))
            stems[i] = numbered
    return stems
