"""What the commands that predict share: batches, the network's word or refinement, overlays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8

from s2hand.data.frames.dataset import FramesDataset
from s2hand.export.codes import Record, prediction_record
from s2hand.export.overlay import draw_skeleton, paste_crop
from s2hand.fitting.refinement import Refinement, refine_each
from s2hand.training.module import S2Hand
from s2hand.types import HandBatch, Prediction, Render

OVERLAY_PX = 448
"""Side of the rendered crop that is laid over a picture."""


def batches(dataset: FramesDataset, positions: Sequence[int], size: int) -> Iterator[HandBatch]:
    """The frames at ``positions``, a batch [b, 1, ...] at a time."""
    for start in range(0, len(positions), size):
        yield HandBatch.stack([dataset[i] for i in positions[start : start + size]])


def predict(module: S2Hand, batch: HandBatch, refine_steps: int) -> Prediction:
    """The network's word, or each frame refined against its own detections and pixels."""
    batch = batch.to(module.device)
    if refine_steps:
        refinement = Refinement(refine_steps)
        return refine_each(module.reconstructor, module.objective, batch, refinement)
    with torch.no_grad():
        return module.reconstructor(batch, render=False)


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
    """A file name per frame, no two alike, none that leads out of the output folder."""
    bare = [Path(name.replace("\\", "/")).name.rsplit(".", 1)[0] for name in names]
    stems = [name.lstrip(".") or "frame" for name in bare]
    count = Counter(stems)
    return [s if count[s] == 1 else f"{s}-{i:06d}" for i, s in enumerate(stems)]
