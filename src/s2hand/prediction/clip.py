"""Prediction of a clip: one hand through a video, as a track, a movie and an animation.

Two passes over the crops, batch by batch, so that memory does not grow with pictures or meshes.
The first keeps the network's codes (58 floats a frame) and a running mean of the texture. The
second poses the fused codes and streams meshes and pictures to their files. Codes, joints,
rotations and cameras stay in memory: about 3 kB a frame, 0.3 GB for an hour of video.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from s2hand.data.frames.dataset import FramesDataset
from s2hand.files.outputs import Input, Outputs
from s2hand.files.progress import progress
from s2hand.fitting.fusion import Span, frame_weights, fuse, smooth
from s2hand.prediction.film import DRAWN, FILMS, DrawnHand, check_one_size, write_film
from s2hand.prediction.frames import frame_inputs
from s2hand.prediction.inference import (
    OVERLAY_PX,
    batches,
    frame_stems,
    frames_record,
    left_hands,
    predict,
)
from s2hand.prediction.summary import TrackSummary, summarise
from s2hand.prediction.track_files import TrackFiles, frame_facts, track_facts, write_moving_hand
from s2hand.training.module import S2Hand
from s2hand.types import HandCode

FILES = {
    "npz": "track.npz", "json": "track.json", "mp4": "overlay.mp4", "preview": "preview.mp4",
    "glb": "hand.glb", "bvh": "hand.bvh",
}  # fmt: skip
"""The formats of one file, and its name."""
WRITER = "predict"
"""The name of predicted files in the manifest of a folder."""
FORMATS = (*FILES, "obj", "ply", "png")
DEFAULT_FORMATS = FORMATS[:7]


@dataclass(frozen=True)
class ClipOptions:
    """How to predict a clip."""

    formats: Sequence[str] = DEFAULT_FORMATS
    """Of :data:`FORMATS`."""
    batch_size: int = 32
    refine_steps: int = 0
    """Adam steps of test-time refinement on each frame, before anything is averaged."""
    smooth_sigma: float = 0.0
    """Of the motion, in frames of the track; 0: no smoothing."""
    fps: float = 30.0
    """Frames per second of a folder of pictures; a video has its own."""


def predict_track(
    module: S2Hand,
    dataset: FramesDataset,
    out: Path,
    options: ClipOptions,
    inputs: Sequence[Input] = (),
) -> TrackSummary:
    """Predict the one hand of a video and write its files into ``out``.

    Each format of :data:`FILES` is one file; ``obj``, ``ply`` and ``png`` are folders of one file
    per frame (docs/formats.md). Files of an earlier prediction that this one does not write are
    removed, because they show another hand.

    Args:
        module: in evaluation mode, on the device to compute on.
        dataset: all frames of one video, or of a folder of pictures that follow each other.
        out: the folder.
        options: formats, batch size, refinement, smoothing.
        inputs: what the user gave beside the source; no output replaces any of it.

    Raises:
        ValueError: for options that cannot be, where no frame has a hand, for a movie of pictures
            that differ in size, and where an output would replace a file of the user.
    """
    check_options(options)
    span = find_hand(dataset, options.fps)
    if set(FILMS) & set(options.formats):
        check_one_size(dataset, span.considered)
    stems = frame_stems([dataset.names[row] for row in span.rows])
    outputs = Outputs(out, WRITER, [*frame_inputs(dataset.source, None), *inputs])
    outputs.plan(track_names(options.formats, stems))
    dataset.prepare()
    # First pass: the codes of all frames, fused to one hand.
    code = fuse(_codes(module, dataset, span.rows, options))
    weights = frame_weights(dataset.confidence[span.rows])
    hand = module.reconstructor.hand
    code = smooth(code, hand, weights, span.runs, options.smooth_sigma)

    # Second pass: the posed hand of every frame goes to its files.
    errors = np.empty((len(span.rows), 21), np.float32)
    with outputs:
        with (
            TrackFiles(out, options.formats, stems) as files,
            closing(_posed(module, dataset, span, code, options, files, errors)) as hands,
        ):
            if set(DRAWN) & set(options.formats):
                write_film(
                    dataset, span.considered, set(span.numbers.tolist()), hands, out,
                    options.formats, span.fps / dataset.every,
                )  # fmt: skip
            deque(hands, maxlen=0)  # frames that no picture asked for; ends the progress bar
            facts = track_facts(hand, dataset, span, errors, options.smooth_sigma)
            record = files.finish(frame_facts(dataset, span, errors), facts)
        write_moving_hand(out, options.formats, hand, record)
    return summarise(dataset, span, record["joints"], errors)


def track_names(formats: Sequence[str], stems: Sequence[str] = ()) -> list[str]:
    """The files of a track, as paths in its folder; ``stems`` are the names of its frames.

    Example:
        >>> track_names(["npz", "obj"], ["000001"])
        ['track.npz', 'obj/000001.obj']
    """
    return [
        name
        for kind in dict.fromkeys(formats)
        for name in ([FILES[kind]] if kind in FILES else [f"{kind}/{s}.{kind}" for s in stems])
    ]


def check_options(options: ClipOptions) -> None:
    """Raise ValueError for values that would fail late, naming the choices."""
    check_formats(options.formats, FORMATS, "a clip")
    check_whole("batch_size", options.batch_size, 1)
    check_whole("refine_steps", options.refine_steps, 0)
    for name, value in (("smooth_sigma", options.smooth_sigma), ("fps", options.fps)):
        if not isinstance(value, int | float) or not 0 <= value < 1e4:
            raise ValueError(f"{name}={value}: give a number from 0 to 10000")
    if options.fps == 0:
        raise ValueError("fps=0: give frames per second, often 30")


def check_formats(formats: Sequence[str], known: Sequence[str], what: str) -> None:
    """Raise ValueError for formats that ``what`` does not have, or a value that is not a list."""
    if isinstance(formats, str):
        raise ValueError(f"formats={formats}: give a list, as in formats=[{known[0]},{known[1]}]")
    unknown = sorted(set(formats) - set(known))
    if unknown or not formats:
        raise ValueError(f"formats={unknown}: for {what} choose from {', '.join(known)}")


def check_whole(name: str, value: int, least: int) -> None:
    """Raise ValueError unless ``value`` is a whole number, at least ``least``."""
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{name}={value}: give a whole number, at least {least}")


def find_hand(dataset: FramesDataset, fps: float) -> Span:
    """Find the frames that have a hand.

    Raises:
        ValueError: no frame has one.
    """
    rows = np.flatnonzero((dataset.confidence > 0).any(-1).numpy())
    if not len(rows):
        raise ValueError(
            f"{dataset.source}: no hand was detected in any of its {dataset.total} frames"
        )
    considered, numbers = range(0, dataset.total, dataset.every), dataset.positions[rows]
    if dataset.times is None or not dataset.source_fps:
        return Span(considered, numbers, rows, numbers / fps, fps)
    return Span(considered, numbers, rows, dataset.times[rows], dataset.source_fps)


def _codes(
    module: S2Hand, dataset: FramesDataset, rows: np.ndarray, options: ClipOptions
) -> Iterator[tuple[HandCode, Float[Tensor, " b"]]]:
    """The first pass: the code that the network predicts for each frame, and the frame's weight."""
    todo = batches(dataset, rows.tolist(), options.batch_size)
    count = -(-len(rows) // options.batch_size)
    for batch in progress(todo, "predicting", count, "batch"):
        code = predict(module, batch, options.refine_steps).hand.code
        yield code[:, 0], frame_weights(batch.confidence)[:, 0]


def _posed(
    module: S2Hand,
    dataset: FramesDataset,
    span: Span,
    code: HandCode,
    options: ClipOptions,
    files: TrackFiles,
    errors: Float[np.ndarray, "n 21"],
) -> Generator[DrawnHand, None, None]:
    """The second pass: pose the track, write numbers and meshes, and yield hands to draw."""
    draw = bool(set(DRAWN) & set(options.formats))
    starts = range(0, len(span.rows), options.batch_size)
    for start in progress(starts, "writing", len(starts), "batch"):
        part = slice(start, start + options.batch_size)
        rows = span.rows[part].tolist()
        camera = dataset.camera[rows, None].to(module.device)
        with torch.no_grad():
            posed = module.reconstructor.decode(
                code[part, None].to(module.device), camera, render=draw, resolution=OVERLAY_PX,
                left=left_hands(dataset, len(rows), module.device),
            )  # fmt: skip
        offset = posed.joints_2d[:, 0].cpu() - dataset.keypoints[rows]
        errors[part] = torch.linalg.vector_norm(offset, dim=-1).numpy()
        record = frames_record(module, dataset, rows, posed)
        files.add(record)
        for i, row in enumerate(rows):
            render = None if posed.render is None else posed.render[i, 0]
            yield DrawnHand(row, files.stems[start + i], record["joints_2d_image"][i], render)
