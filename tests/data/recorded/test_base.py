"""What loaders of recorded sequences make of detections of both hands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fixtures.recorded import K
from s2hand.data.detections.base import Detections
from s2hand.data.recorded.base import RecordedDataset
from s2hand.data.recorded.frame_table import FrameTable

NAMES = ("a/0", "a/1", "b/0", "b/1")


def table(folder: Path) -> FrameTable:
    """Two frames of a right hand, two of a left one."""
    files = [folder / f"{row}.png" for row in range(4)]
    for file in files:
        file.touch()
    return FrameTable(
        NAMES, np.array([0, 1, 0, 1]), files, np.tile(K, (4, 1, 1)), np.array([0, 0, 1, 1], bool)
    )


def reasons(folder: Path, detections: Path | Detections) -> dict[str, int]:
    dataset = RecordedDataset(
        table(folder), detections, keep_all=True, image_px=32, margin=2.0, smooth_frames=0,
        source="test", dropped={},
    )  # fmt: skip
    return dataset.reasons


def openpose(folder: Path) -> Path:
    """Both hands in every frame; a wild confidence in 1 frame of the right, 2 of the left."""
    for row, name in enumerate(NAMES):
        hands = {}
        for side, wild in (("right", row == 0), ("left", row >= 2)):
            points = np.random.default_rng(row).uniform(100, 300, (21, 3))
            points[:, 2] = 0.5
            points[3, 2] = 7.0 if wild else 0.5
            hands[f"hand_{side}_keypoints_2d"] = points.ravel().tolist()
        file = folder / f"{name}_keypoints.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"people": [hands]}))
    return folder


def test_repairs_of_both_hands_are_added(tmp_path: Path) -> None:
    assert reasons(tmp_path, openpose(tmp_path / "openpose"))["confidence outside 0..1"] == 3


def test_rows_that_serve_both_hands_count_once(tmp_path: Path) -> None:
    confidence = np.full((4, 21), 0.5)
    confidence[1:, 2] = 1.5
    points = np.random.default_rng(0).uniform(100, 300, (4, 21, 2))
    found = reasons(tmp_path, Detections(NAMES, points, confidence))
    assert found["confidence outside 0..1"] == 3
