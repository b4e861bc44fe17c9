"""Detections joined with frames: by whose name, of which hand, and what is counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2hand.data.detections.base import NOT_YET, Detections
from s2hand.data.detections.files import write_detections
from s2hand.data.detections.tracks import TrackKeypoints, write_tracks
from s2hand.data.recorded import joining
from s2hand.data.recorded.frame_table import FrameTable
from s2hand.data.recorded.joining import count_detections, join_detections, too_few

NAMES = ["0/left", "0/right", "1/right"]
UV = np.random.default_rng(0).uniform(20, 80, (3, 21, 2)).round(2)
SURE = np.full((3, 21), 0.9)


@pytest.fixture
def table() -> FrameTable:
    """Two pictures; the first shows two hands."""
    return FrameTable(
        names=NAMES,
        numbers=np.array([0, 0, 2]),
        files=[Path("0.png"), Path("0.png"), Path("1.png")],
        intrinsics=np.tile(np.array([[90.0, 0, 50], [0, 90, 50], [0, 0, 1]]), (3, 1, 1)),
        left=np.array([True, False, False]),
        pictures=["0", "0", "1"],
        sizes=np.full((3, 2), 100),
    )


def both(path: Path, size: tuple[int, int] = (100, 100)) -> Path:
    """Tracks of either hand over both pictures."""
    left = TrackKeypoints("left", [0], UV[:1], SURE[:1])
    right = TrackKeypoints("right", [0, 1], UV[1:], SURE[1:])
    write_tracks(path, ["0.png", "1.png"], [left, right], size, "x", "y")
    return path


def test_a_file_that_knows_sides_names_pictures(table: FrameTable, tmp_path: Path) -> None:
    found = join_detections(both(tmp_path / "a.json"), table, required=True)
    assert list(found.names) == NAMES
    np.testing.assert_allclose(found.keypoints, UV, atol=0.01)


def test_another_file_names_frames_and_is_read_once(
    table: FrameTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = tmp_path / "a.json", []
    write_detections(path, Detections(tuple(NAMES), UV, SURE))

    def counting(*arguments: Any) -> Detections:
        read.append(arguments)
        return read_detections(*arguments)

    read_detections = joining.read_detections
    monkeypatch.setattr(joining, "read_detections", counting)
    np.testing.assert_allclose(join_detections(path, table, required=True).keypoints, UV, atol=1e-3)
    assert len(read) == 1
    write_detections(path, Detections(("0", "1"), UV[1:], SURE[1:]))
    with pytest.raises(ValueError, match="no detection named '0/right'"):
        join_detections(path, table, required=True)


def test_frames_may_have_other_names_in_the_file(table: FrameTable) -> None:
    table = replace(table, pictures=None, detection_names=["a", "b", "c"])
    found = join_detections(Detections(("c", "a", "b"), UV[[2, 0, 1]], SURE), table, required=True)
    assert list(found.names) == NAMES
    np.testing.assert_array_equal(found.keypoints, UV)


def test_keypoints_are_scaled_to_the_frames(table: FrameTable, tmp_path: Path) -> None:
    found = join_detections(both(tmp_path / "a.json", (50, 50)), table, required=True)
    np.testing.assert_allclose(found.keypoints, 2 * (UV + 0.5) - 0.5, atol=0.02)


def test_none_is_refused_where_it_is_needed(table: FrameTable) -> None:
    with pytest.raises(ValueError, match="training needs them"):
        join_detections(None, table, required=True)
    for nothing in (None, NOT_YET):
        found = join_detections(nothing, table, required=nothing is NOT_YET)
        assert not found.confidence.any()


def test_what_was_repaired_counts_once(table: FrameTable) -> None:
    sure = SURE.copy()
    sure[0, 3] = 1.4
    given = Detections(tuple(NAMES), UV, sure)
    found = join_detections(given, table, required=True)
    assert found.repaired == {"confidence outside 0..1": 1}


def test_counts(table: FrameTable) -> None:
    uv, sure = UV.copy(), SURE.copy()
    sure[0] = 0
    uv[1, 4] = [-3, 50]
    uv[2, 5], sure[2, 5] = [-3, 50], 0  # which is not detected
    found = Detections(tuple(NAMES), uv, sure)
    assert table.sizes is not None
    counts = count_detections(found, table.sizes, keep_all=False, kept=1)
    assert counts == {
        "no keypoint detected": 1,
        "fewer than 4 keypoints detected": 0,
        "detection off the image": 1,
        "with keypoints outside the image": 1,
    }


def test_a_few_keypoints_are_no_hand() -> None:
    sure = np.zeros((5, 21))
    sure[0, :3], sure[1, :4] = 0.9, 0.9
    sure[2] = 0.03  # all of them doubtful: a hand, whose size they tell
    sure[3, 0], sure[3, 1:] = 0.9, 0.05
    found = Detections(tuple("abcde"), np.full((5, 21, 2), 50.0), sure)
    assert too_few(found).tolist() == [True, False, False, True, True]
    counts = count_detections(found, np.full((5, 2), 100), keep_all=False, kept=2)
    assert counts["no keypoint detected"] == 1
    assert counts["fewer than 4 keypoints detected"] == 2
    assert counts["detection off the image"] == 0
