"""MediaPipe finds the hand of a real video where another run of it did."""

from __future__ import annotations

import os
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s2hand.data.detections.files import read_detections
from s2hand.data.frames.decode import read_video
from s2hand.detect.hands import hand_size
from s2hand.detect.mediapipe import HandLandmarker
from s2hand.detect.search import search

SHARED = Path(__file__).parents[3] / "shared"
VIDEO = SHARED / "data" / "human_hand_video.mp4"
MODEL = Path(os.environ.get("S2HAND_HAND_LANDMARKER", SHARED / "models" / "hand_landmarker.task"))


@pytest.fixture(scope="module")
def model() -> Path:
    pytest.importorskip("mediapipe", reason="pip install s2hand[detect]")
    if not MODEL.is_file():
        pytest.skip(f"no {MODEL}: s2hand-detect --get-model, and set S2HAND_HAND_LANDMARKER")
    return MODEL


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    """The first frames of the video, 1280 x 720."""
    if not VIDEO.is_file():
        pytest.skip(f"no {VIDEO}")
    return [np.asarray(image) for image in islice(read_video(VIDEO), 6)]


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    return read_detections(VIDEO.with_suffix(".keypoints.json")).keypoints


def off(found: np.ndarray, expected: np.ndarray) -> float:
    """Mean distance, as a fraction of the hand's size."""
    return float(np.linalg.norm(found - expected, axis=-1).mean() / hand_size(expected))


def test_the_real_hand_is_found_in_every_frame(
    model: Path, frames: list[np.ndarray], reference: np.ndarray
) -> None:
    found = list(search([(f, i / 30) for i, f in enumerate(frames)], model, video=True))
    assert [len(hands) for hands in found] == [1] * len(frames)
    for number, (hand,) in enumerate(found):
        assert hand.side == "right"
        assert off(hand.keypoints, reference[number]) < 0.03
        assert hand.confidence.mean() > 0.7


def test_a_mirrored_picture_shows_a_left_hand(model: Path, frames: list[np.ndarray]) -> None:
    with HandLandmarker(model) as find:
        (hand,) = find(np.ascontiguousarray(frames[0][:, ::-1]))
    assert hand.side == "left"


def test_equal_times_are_accepted(model: Path, frames: list[np.ndarray]) -> None:
    with HandLandmarker(model, video=True) as find:
        assert all(find(frame, 0.0) for frame in frames[:3])


def test_a_hand_that_fills_the_picture_is_found_with_a_border(
    model: Path, frames: list[np.ndarray], reference: np.ndarray
) -> None:
    low, high = reference[0].min(0).astype(int), reference[0].max(0).astype(int)
    tight = frames[0][low[1] : high[1], low[0] : high[0]]
    large = np.asarray(Image.fromarray(tight).resize((tight.shape[1] * 2, tight.shape[0] * 2)))
    with HandLandmarker(model) as find:
        hands = find(large)
    assert hands
    assert off(hands[0].keypoints / 2 + low, reference[0]) < 0.15


def test_nothing_is_found_in_grey(model: Path) -> None:
    with HandLandmarker(model) as find:
        assert find(np.full((240, 320, 3), 128, np.uint8)) == []


def test_a_file_that_is_not_a_model_is_named(model: Path, tmp_path: Path) -> None:
    (tmp_path / "x.task").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"x.task is not a hand_landmarker.task"):
        HandLandmarker(tmp_path / "x.task")


def test_without_the_package_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 's2hand\[detect\]'"):
        HandLandmarker(tmp_path / "x.task")


@pytest.mark.parametrize("hands", [0, -1])
def test_a_number_of_hands_below_one_is_refused(tmp_path: Path, hands: int) -> None:
    with pytest.raises(ValueError, match=f"hands={hands}"):
        HandLandmarker(tmp_path / "x.task", hands)
