"""The frames to predict: a video or pictures, with or without 2D detections."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from s2hand.data.detections.base import Detections
from s2hand.data.frames.dataset import FramesDataset
from s2hand.data.frames.sources import IMAGE_SUFFIXES, Pictures, open_source
from s2hand.files.outputs import Input, InputFolder


def open_frames(
    source: Path,
    detections: str | None,
    *,
    clip: bool,
    side: Literal["right", "left"] = "right",
    track: int | None = None,
    horizontal_fov_deg: float = 60.0,
    every: int = 1,
) -> FramesDataset:
    """Open the frames to predict, cropped around their detections.

    Args:
        source: a video, a picture or a folder of pictures.
        detections: a file or folder of 2D keypoints; None takes every picture as a hand's crop.
        clip: whether the frames follow each other; of a clip only frames with a hand are kept.
        side: which hand.
        track: which of several hands in the detections.
        horizontal_fov_deg: field of view of the whole frame.
        every: take every n-th frame.

    Raises:
        FileNotFoundError, ValueError: as :class:`FramesDataset`; a video without detections.
    """
    return FramesDataset(
        source, detections or whole_pictures(source), side=side, track=track, keep_all=not clip,
        horizontal_fov_deg=horizontal_fov_deg, every=every, sequence=clip or None,
    )  # fmt: skip


def whole_pictures(source: Path) -> Detections:
    """Detections without keypoints: every picture of a folder is taken as the crop of a hand.

    Raises:
        ValueError: ``source`` is a video.
    """
    found = open_source(source)
    if not isinstance(found, Pictures):
        raise ValueError(
            f"{source} is a video: without detections the hand cannot be found in it; give "
            "detections=FILE"
        )
    names = tuple(path.name for path in found.files)
    return Detections(names, np.zeros((len(names), 21, 2)), np.zeros((len(names), 21)))


def is_clip(source: Path, sequence: bool | None = None) -> bool:
    """Whether frames follow each other: ``sequence``, or by default whether it is a video."""
    if sequence is not None:
        return bool(sequence)
    return source.is_file() and source.suffix.lower() not in IMAGE_SUFFIXES


def choose_device(name: str) -> torch.device:
    """The device of a name: ``auto`` is a GPU where torch has one, others are torch's names.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')

    Raises:
        ValueError: for a device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise ValueError(f"device={name}: use auto, cpu or cuda ({error})") from error
    return device


def frame_inputs(source: str | Path | None, detections: str | Path | None) -> list[Input]:
    """The files that frames are read from: a video or pictures, and their detections."""
    inputs: list[Input] = []
    if source is not None:
        inputs.append(InputFolder(Path(source), IMAGE_SUFFIXES))
    if detections is not None:  # a folder is OpenPose's
        inputs.append(InputFolder(Path(detections), {".json"}, recursive=True))
    return inputs
