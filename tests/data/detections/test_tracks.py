"""Files of several hands: round trip, choice of a hand, hostile content."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fixtures.clips import FRAMES, HAND, write_clip
from s2hand.data.detections.base import Detections
from s2hand.data.detections.files import list_tracks, read_detections, write_detections
from s2hand.data.detections.tracks import TrackInfo, TrackKeypoints, write_tracks
from s2hand.data.frames.dataset import FramesDataset

NAMES = [f"{i:06d}" for i in range(6)]


def keypoints(side: str, positions: list[int], confidence: float, seed: int = 0) -> TrackKeypoints:
    rng = np.random.default_rng(seed)
    n = len(positions)
    return TrackKeypoints(
        side, positions, rng.uniform(10, 300, (n, 21, 2)), np.full((n, 21), confidence)
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A left hand in four frames, and two right ones, the second written first."""
    tracks = [
        keypoints("right", [1, 2], 0.9, 1),
        keypoints("right", [0, 1, 2, 3, 4], 0.8, 2),
        keypoints("left", [2, 3, 4, 5], 0.5, 3),
    ]
    write_tracks(tmp_path / "hands.json", NAMES, tracks, (320, 240), "hand.mp4", "by hand")
    return tmp_path / "hands.json"


def change(path: Path, **values: Any) -> Path:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return path


def test_tracks_are_numbered_by_what_was_seen_of_them(path: Path) -> None:
    assert [(i.track, i.side, i.frames, round(i.confidence, 4)) for i in list_tracks(path)] == [
        (0, "right", 5, 0.8), (1, "left", 4, 0.5), (2, "right", 2, 0.9),
    ]  # fmt: skip
    assert str(list_tracks(path)[1]) == "track 1: left hand, 4 frames, confidence 0.50"


def test_a_hand_comes_back_in_its_frames(path: Path) -> None:
    found = read_detections(path, "left")
    assert found.names == tuple(NAMES)
    assert found.image_size == (320, 240)
    assert (found.confidence > 0).any(-1).tolist() == [False, False, True, True, True, True]
    assert_allclose(
        found.keypoints[2:], keypoints("left", [2, 3, 4, 5], 0.5, 3).keypoints, atol=1e-4
    )


def test_the_first_of_a_side_is_taken_and_the_others_named(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = read_detections(path, "right")
    assert (found.confidence > 0).any(-1).sum() == 5
    assert "track 0 of 2 right hands; others: track=2" in caplog.text
    caplog.clear()
    assert (read_detections(path, "right", 2).confidence > 0).any(-1).sum() == 2
    assert not caplog.text


@pytest.mark.parametrize(
    ("side", "track", "words"),
    [
        ("right", 7, "track=7: .*track 1 .left."),
        ("right", 1, "track 1 is a left hand; give side=left"),
    ],
)
def test_a_hand_that_is_not_there_is_an_error(
    path: Path, side: str, track: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        read_detections(path, side, track)


def test_a_side_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "left.json"
    write_tracks(file, NAMES, [keypoints("left", [0], 0.5)], None, "x", "y")
    with pytest.raises(ValueError, match=r"no right hand, but track 0 \(left\); give side=left"):
        read_detections(file)
    write_tracks(file, NAMES, [], None, "x", "y")
    assert list_tracks(file) == []
    with pytest.raises(ValueError, match="no right hand, but no hand"):
        read_detections(file)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"frames": None}, "'frames' must be a list"),
        ({"tracks": {"a": 1}}, "'tracks' one of hands"),
        ({"tracks": [7]}, "a track is"),
        ({"tracks": [{"track": 0, "side": "up", "frames": []}]}, "a track is"),
        ({"tracks": [{"track": 0, "side": "right", "frames": [{}]}]}, "a track is"),
        ({"tracks": [{"track": 0, "side": "right", "frames": [{"name": "x", "keypoints": []}]}]},
         "'x', which is not in 'frames'"),
        ({"tracks": [{"track": 0, "side": "right",
                      "frames": [{"name": "000000", "keypoints": [[1, 2]]}]}]}, "2 numbers"),
        ({"frames": ["000000", "000000"]}, "named 2 times"),
        ({"image_size": 5}, "image_size"),
    ],
)  # fmt: skip
def test_damaged_content_names_the_file(path: Path, values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        read_detections(change(path, **values))
    assert str(path) in str(error.value)


def test_every_form_lists_its_hands(tmp_path: Path) -> None:
    confidence = np.array([[0.5] * 21, [0.0] * 21])
    one = Detections(("000000", "000001"), np.full((2, 21, 2), 50.0), confidence, side="left")
    write_detections(tmp_path / "one.json", one)
    assert list_tracks(tmp_path / "one.json") == [TrackInfo(0, "left", 1, 0.5)]
    published = [np.full((2, 21, 2), 50.0).tolist(), confidence[..., None].tolist(), ["0", "1"]]
    (tmp_path / "two.json").write_text(json.dumps(published))
    assert list_tracks(tmp_path / "two.json") == [TrackInfo(0, None, 1, 0.5)]
    folder = tmp_path / "openpose"
    folder.mkdir()
    hands = {"hand_left_keypoints_2d": [50, 50, 0.9] * 21, "hand_right_keypoints_2d": []}
    (folder / "0_keypoints.json").write_text(json.dumps({"people": [hands]}))
    assert [(i.side, i.frames) for i in list_tracks(folder)] == [("left", 1)]


def test_both_hands_of_an_openpose_folder_can_be_told_apart(tmp_path: Path) -> None:
    """By the number that the list gives them, whichever is surer."""
    hands = {"hand_left_keypoints_2d": [50, 50, 0.9] * 21,
             "hand_right_keypoints_2d": [90, 90, 0.5] * 21}  # fmt: skip
    (tmp_path / "0_keypoints.json").write_text(json.dumps({"people": [hands]}))
    listed = list_tracks(tmp_path)
    assert [(info.track, info.side) for info in listed] == [(1, "left"), (0, "right")]
    for info in listed:
        assert info.side is not None
        found = read_detections(tmp_path, info.side, info.track)
        assert found.keypoints[0, 0, 0] == {"left": 50, "right": 90}[info.side]
    with pytest.raises(ValueError, match=r"track=0, side=left: .* left hand track 1"):
        read_detections(tmp_path, "left", 0)


def test_a_file_of_one_hand_has_track_0(tmp_path: Path) -> None:
    clip = write_clip(tmp_path)
    assert len(clip.dataset(track=0)) == len(HAND)
    with pytest.raises(ValueError, match=r"track=1: .* holds one hand"):
        clip.dataset(track=1)


def test_a_dataset_of_one_of_several_hands(tmp_path: Path) -> None:
    clip = write_clip(tmp_path)
    found = read_detections(clip.detections)
    tracks = [
        TrackKeypoints("right", rows, found.keypoints[rows], found.confidence[rows])
        for rows in (HAND, HAND[:2])
    ]
    names = [f"{i:06d}" for i in range(FRAMES)]
    write_tracks(tmp_path / "two.json", names, tracks, None, "hand.mp4", "by hand")
    lengths = [
        len(FramesDataset(clip.source, tmp_path / "two.json", track=track)) for track in (0, 1)
    ]
    assert lengths == [len(HAND), 2]
