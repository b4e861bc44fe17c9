"""Prediction of independent pictures: one set of files per frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from s2hand.data.frames.dataset import FramesDataset
from s2hand.export.about import describe
from s2hand.export.codes import Record, write_prediction
from s2hand.export.mesh_files import write_mesh
from s2hand.files.atomic import atomic_path
from s2hand.files.outputs import Input, Outputs
from s2hand.files.progress import progress
from s2hand.prediction.clip import WRITER
from s2hand.prediction.frames import frame_inputs
from s2hand.prediction.inference import (
    OVERLAY_PX,
    batches,
    draw_overlay,
    frame_stems,
    frames_record,
    left_hands,
    predict,
)
from s2hand.training.module import S2Hand
from s2hand.types import Prediction

FORMATS = ("json", "npz", "obj", "ply", "glb", "png")


def predict_pictures(
    module: S2Hand,
    dataset: FramesDataset,
    out: Path,
    formats: Sequence[str],
    batch_size: int = 32,
    refine_steps: int = 0,
    inputs: Sequence[Input] = (),
) -> None:
    """Predict every frame of a dataset and write ``out/<name>.<format>`` of each.

    Args:
        module: in evaluation mode, on the device to compute on.
        dataset: the pictures.
        out: the folder.
        formats: of :data:`FORMATS`.
        batch_size: frames that are predicted together.
        refine_steps: Adam steps of test-time refinement on each frame.
        inputs: what the user gave beside the source; no output replaces any of it.

    Raises:
        ValueError: an output would replace a file of the user.
    """
    rows, stems = range(len(dataset)), frame_stems(dataset.names)
    outputs = Outputs(out, WRITER, [*frame_inputs(dataset.source, None), *inputs])
    outputs.plan(f"{stem}.{kind}" for stem in stems for kind in dict.fromkeys(formats))
    dataset.prepare()
    pictures = dataset.pictures(rows) if "png" in formats else None
    step = progress(rows, "predicting", len(rows), "frame")
    with outputs:
        for batch in batches(dataset, rows, batch_size):
            prediction = predict(module, batch, refine_steps)
            for position in range(len(batch.index)):
                row, one = next(step), prediction[position : position + 1]
                record, stem = frames_record(module, dataset, [row], one), out / stems[row]
                write_frame(stem, record, formats)
                if pictures is not None:
                    path = stem.with_name(f"{stem.name}.png")
                    write_overlay(module, dataset, row, one, record, next(pictures), path)
        for _ in step:  # ends the progress bar
            pass


def write_frame(stem: Path, record: Record, formats: Sequence[str]) -> None:
    """Write the files of one frame, ``stem`` with each format's suffix, except its picture."""
    for kind in formats:
        path = stem.with_name(f"{stem.name}.{kind}")
        if kind in ("json", "npz"):
            write_prediction(path, record)
        elif kind != "png":
            colors = np.clip(record["texture"][0], 0, 1)
            write_mesh(path, record["vertices"][0], record["faces"], colors, describe(record))


@torch.no_grad()
def write_overlay(
    module: S2Hand,
    dataset: FramesDataset,
    row: int,
    one: Prediction,
    record: Record,
    picture: Image.Image,
    path: Path,
) -> None:
    """Draw the rendered hand and its skeleton over the whole picture; ``one`` is [1, 1, ...]."""
    camera = dataset.camera[[row], None].to(module.device)
    seen = module.reconstructor.decode(
        one.hand.code, camera, resolution=OVERLAY_PX, left=left_hands(dataset, 1, module.device)
    ).render
    assert seen is not None
    joints = record["joints_2d_image"][0]
    image = draw_overlay(dataset, row, np.asarray(picture), seen[0, 0], joints)
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary)
