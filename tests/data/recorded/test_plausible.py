"""Implausible labels are found; the hands of every dataset's fixture are plausible."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from fixtures.dexycb import write_dexycb
from fixtures.recorded import film
from s2hand.data.detections.base import Detections
from s2hand.data.recorded.dexycb import DexYcbDataset
from s2hand.data.recorded.plausible import STRANGE, count_far, count_strange, strange_labels

K = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])


@pytest.fixture(scope="module")
def joints() -> np.ndarray:
    """Eight frames of one hand."""
    return np.stack([frame.joints for frame in film(8, "ho3d", seed=3)])


def test_a_moving_hand_is_one(joints: np.ndarray) -> None:
    assert not strange_labels(joints, recordings=np.zeros(8, int)).any()


def test_a_joint_far_off_is_found_without_a_recording(joints: np.ndarray) -> None:
    joints = joints.copy()
    joints[3, 8, 0] += 0.171
    np.testing.assert_array_equal(np.flatnonzero(strange_labels(joints)), [3])


def test_a_change_within_a_recording_is_found(joints: np.ndarray) -> None:
    joints = joints.copy()
    joints[5, 8] += 0.04 * np.sign(joints[5, 8] - joints[5, 7])
    assert not strange_labels(joints).any()
    np.testing.assert_array_equal(
        np.flatnonzero(strange_labels(joints, recordings=np.zeros(8, int))), [5]
    )
    two = np.array([0, 1, 0, 1, 0, 1, 0, 1])  # four frames each: too few to know what is usual
    assert not strange_labels(joints, recordings=two).any()


def test_missing_joints_say_nothing(joints: np.ndarray) -> None:
    joints = joints.copy()
    joints[:, 4] = np.nan
    joints[2] = np.nan
    assert not strange_labels(joints, recordings=np.zeros(8, int)).any()


def test_a_vertex_far_off_is_found(joints: np.ndarray) -> None:
    vertices = np.repeat(joints[:, :1], 778, axis=1)
    vertices[6, 700, 1] += 0.31
    np.testing.assert_array_equal(np.flatnonzero(strange_labels(joints, vertices)), [6])


def test_the_first_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert count_strange(np.array([False, True, True]), "root train", "abc") == {STRANGE: 2}
    assert "root train: the labels of 2 frames are not a hand's, first b" in caplog.text


def test_detections_of_another_place_are_counted(joints: np.ndarray) -> None:
    uv = joints @ K.T
    uv = uv[..., :2] / uv[..., 2:]
    confidence = np.ones((8, 21))
    confidence[0], confidence[1, 3:] = 0, 0  # what is not seen says nothing
    size = np.ptp(uv[2], axis=0).max()
    uv[0] += 300
    uv[1, 3:] += 300
    uv[2] += [0.55 * size, 0]
    uv[3] += [0.45 * size, 0]
    uv[4, :10] += 300  # less than half of them
    found = Detections(tuple("abcdefgh"), uv, confidence)
    assert count_far(joints, np.tile(K, (8, 1, 1)), found) == {"detected far from the labels": 1}


def test_training_drops_them_and_a_test_keeps_and_counts_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = write_dexycb(tmp_path / "tree")
    options = {"smooth_frames": 0, "labels": True}
    for split in ("train", "test"):
        before = DexYcbDataset(tree.root, tree.detections, split=split, **options)  # type: ignore[arg-type]
        path = before.path(0).with_name(before.path(0).name.replace("color_", "labels_"))
        path = path.with_suffix(".npz")
        with np.load(path) as arrays:
            content = dict(arrays)
        content["joint_3d"][0, 8, 0] += 0.2
        np.savez(path, **content)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            after = DexYcbDataset(tree.root, tree.detections, split=split, **options)  # type: ignore[arg-type]
        assert after.reasons[STRANGE] == 1
        assert before.names[0] in caplog.text
        assert len(after) == len(before) - (split == "train")
