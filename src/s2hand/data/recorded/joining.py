"""Join detections with the frames of a table by name, place crops around them, and count them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from s2hand.data.crops import place_boxes, weights
from s2hand.data.detections.base import NOT_YET, SIDES, Detections
from s2hand.data.detections.files import read_detections
from s2hand.data.recorded.frame_table import FrameTable, runs
from s2hand.geometry.skeleton import NUM_JOINTS

MIN_KEYPOINTS = 4


def join_detections(
    detections: str | Path | Detections | None, table: FrameTable, required: bool
) -> Detections:
    """One row per frame, in its pixels; of a file with both hands the labelled hand.

    Names in the file are those of the table's frames. If the table has ``pictures``, a file that
    records sides is joined by picture; any other file, and :class:`Detections`, by frame.

    Raises:
        ValueError: for the first frame without a row, and for None if ``required``.
    """
    if detections is None and required:
        raise ValueError("detections: training needs them, they are its only supervision")
    count = len(table.names)
    keypoints, confidence = np.zeros((count, NUM_JOINTS, 2)), np.zeros((count, NUM_JOINTS))
    sums = np.zeros((count, 32), np.uint8)
    repaired: dict[str, Counter[str]] = {}
    for side in SIDES:
        rows = np.flatnonzero(table.left == (side == "left"))
        if detections is None or detections is NOT_YET or not len(rows):
            continue
        names = table.detection_names or table.names
        part = detections
        if not isinstance(part, Detections):
            part = read_detections(part, side)
            if part.side is None:
                detections = part  # its rows are of either hand: reading it once is enough
            elif table.pictures is not None:
                names = table.pictures
        repaired[part.fingerprint] = Counter(part.repaired)  # one file counts once
        part = part.of_images([names[row] for row in rows.tolist()])
        assert table.sizes is not None
        part = part.on_frames(table.sizes[rows])
        keypoints[rows], confidence[rows] = part.keypoints, part.confidence
        if part.image_sha256 is not None:
            sums[rows] = part.image_sha256
    counts = sum(repaired.values(), Counter[str]())
    return Detections(
        tuple(table.names),
        keypoints,
        confidence,
        repaired=dict(counts),
        image_sha256=sums if sums.any() else None,
    )


def too_few(found: Detections) -> Bool[np.ndarray, " n"]:
    """Frames with fewer than MIN_KEYPOINTS reliable keypoints.

    Keypoints count by :func:`~s2hand.data.crops.weights`; a crop around two of them shows only
    skin.
    """
    trusted = weights(found.confidence).sum(-1)
    return np.asarray(trusted < MIN_KEYPOINTS)


def place_crops(
    table: FrameTable, found: Detections, margin: float, smooth_frames: float, keep_all: bool
) -> Float[np.ndarray, "n 3"]:
    """Boxes (left, top, side) of a table's frames, run by run; NaN if none can be placed.

    If too few keypoints are detected, the table's box replaces them.
    """
    assert table.sizes is not None
    keypoints, confidence = found.keypoints.copy(), found.confidence.copy()
    few = too_few(found)
    confidence[few] = 0
    if table.boxes is not None:
        given = few & np.isfinite(table.boxes).all(-1)
        corners = table.boxes[given].reshape(-1, 2, 2)
        keypoints[given], confidence[given] = corners[:, np.arange(NUM_JOINTS) % 2], 1.0
    boxes = np.full((len(keypoints), 3), np.nan)
    for run in runs(table):
        boxes[run] = place_boxes(
            keypoints[run],
            confidence[run],
            table.sizes[run],
            margin,
            smooth_frames,
            sequence=True,
            keep_all=keep_all,
        )
    return boxes


def count_detections(
    found: Detections, sizes: Int[np.ndarray, "n 2"], keep_all: bool, kept: int
) -> dict[str, int]:
    """Number of frames dropped, flagged or repaired because of their detections, by reason."""
    detected = found.confidence > 0
    outside = ((found.keypoints < -0.5) | (found.keypoints > sizes[:, None] - 0.5)).any(-1)
    empty, few = int((~detected.any(-1)).sum()), int(too_few(found).sum())
    return {
        "no keypoint detected": empty,
        f"fewer than {MIN_KEYPOINTS} keypoints detected": few - empty,
        "detection off the image": 0 if keep_all else len(found) - few - kept,
        "with keypoints outside the image": int((outside & detected).any(-1).sum()),
        **found.repaired,
    }
