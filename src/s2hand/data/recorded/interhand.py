"""InterHand2.6M: hands in a studio with many cameras; here the single right and left hands.

Format: Moon et al., "InterHand2.6M" (ECCV 2020), and its authors' code; the folder of the
annotations (``annotations/<split>``) and the 90 frames per second of the cameras are from memory
(M). Joints are annotated, in no mesh convention; the MANO fits are not read.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int

from s2hand.data.crops import CROP_PX
from s2hand.data.detections.base import SIDES, Detections
from s2hand.data.recorded.base import RecordedDataset
from s2hand.data.recorded.frame_table import FrameTable
from s2hand.data.recorded.interhand_labels import HAND_TYPES, read_annotations

logger = logging.getLogger(__name__)

Split = Literal["train", "val", "test"]
CAPTURE_FPS = 90.0
"""Frame numbers count the cameras' frames (from memory): a file of 5 fps steps by 18."""


class InterHandDataset(RecordedDataset):
    """The single hands of InterHand2.6M, a recording per sequence and camera; left ones mirrored.

    The step between frames of a recording is found in the files (``stride``: 18 at 5 fps, 3 at
    30 fps); a missing frame, or one with both hands, cuts the windows. Joints that are not valid
    are NaN, and all are where the wrist is not. Training and validation drop hands without
    detection; the test split keeps them, whole where nothing is detected.

    Args:
        root: the folder that holds ``annotations`` and ``images``.
        detections: the path that :func:`read_detections` reads, or what it returns: of each frame
            the hand that it is labelled with, in pixels of the image as it is. Joined by name
            (``Capture0/ROM03_LT_No_Occlusion/cam400262/image11508``). The test split may do
            without (None).
        split: ``train``, ``val`` or ``test``.
        sides: which hands, of ``right`` and ``left``.
        image_px: side of the image tensor.
        margin: side of the crop as a multiple of the keypoints' extent.
        smooth_frames: sigma of the smoothing of crops over time, in frames; 0 = none.
        labels: give joints. There are no vertices (NaN).
        skip: names of training frames to leave out.

    Raises:
        FileNotFoundError: for the first missing file that is needed.
        ValueError: for annotations that are not InterHand's, detections of other names, and labels
            behind the camera.
    """

    convention = None
    protocol = "interhand"

    def __init__(
        self,
        root: str | Path,
        detections: str | Path | Detections | None,
        split: Split = "train",
        sides: Sequence[str] = SIDES,
        image_px: int = CROP_PX,
        margin: float = 1.7,
        smooth_frames: float = 4.0,
        labels: bool = False,
        skip: Sequence[str] = (),
    ) -> None:
        root = Path(root)
        if split not in ("train", "val", "test"):
            raise ValueError(f"split={split!r}; use 'train', 'val' or 'test'")
        if not sides or not set(sides) <= set(SIDES):
            raise ValueError(f"sides={list(sides)}: of {', '.join(SIDES)}")
        table, self.stride, dropped = _read_table(root, split, sides, labels)
        self.fps = CAPTURE_FPS / self.stride if self.stride else None
        super().__init__(
            table,
            detections,
            keep_all=split == "test",
            image_px=image_px,
            margin=margin,
            smooth_frames=smooth_frames,
            source=f"{root} {split}",
            dropped=dropped,
            skip=skip,
        )


def _read_table(
    root: Path, split: Split, sides: Sequence[str], labels: bool
) -> tuple[FrameTable, int, dict[str, int]]:
    """The single hands of a split, the step of their frame numbers, and what is left out."""
    rows = read_annotations(root, split)
    files = [Path(file.decode()) for file in rows["file"].tolist()]
    recordings = np.unique([file.parent.as_posix() for file in files], return_inverse=True)[1]
    stride = frame_stride(recordings, rows["frame"])
    hands = np.array(HAND_TYPES)[rows["hand"]]
    kept = np.flatnonzero(np.isin(hands, list(sides)))
    if not len(kept):
        raise ValueError(f"{root}: no single {' or '.join(sides)} hand in split {split}")
    joints = rows["joints"][kept].astype(np.float64)
    reasons = {
        "both hands": int((hands == "interacting").sum()),
        "of the other side": int((~np.isin(hands, [*sides, "interacting"])).sum()),
    }
    table = FrameTable(
        names=[files[row].with_suffix("").as_posix() for row in kept.tolist()],
        numbers=_numbers(recordings, rows["frame"], stride)[kept],
        files=[root / "images" / split / files[row] for row in kept.tolist()],
        intrinsics=np.asarray(rows["K"][kept]),
        left=hands[kept] == "left",
        joints=joints if labels else None,
        sizes=np.asarray(rows["size"][kept]),
    )
    return table, stride, reasons


def frame_stride(recordings: Int[np.ndarray, " n"], frames: Int[np.ndarray, " n"]) -> int:
    """The usual step between frame numbers of one recording, sorted by both; 0 without any."""
    steps = np.diff(frames)[(np.diff(recordings) == 0) & (np.diff(frames) > 0)]
    return int(np.bincount(steps).argmax()) if len(steps) else 0


def _numbers(
    recordings: Int[np.ndarray, " n"], frames: Int[np.ndarray, " n"], stride: int
) -> Int[np.ndarray, " n"]:
    """Numbers that go up by 1 from frame to frame where the step is the stride, else by 2."""
    steps = np.where((np.diff(frames) == stride) & (np.diff(recordings) == 0), 1, 2)
    return np.concatenate([[0], np.cumsum(steps)])
