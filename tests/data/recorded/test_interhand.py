"""InterHand2.6M's format: single hands, frame strides, joints that are not valid."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fixtures.interhand import FIRST, FRAMES, SMALL_SIZE, InterHandTree, write_interhand
from s2hand.data.frames.sources import read_image
from s2hand.data.recorded.interhand import InterHandDataset, frame_stride, read_annotations
from s2hand.geometry.camera import project

FLIP = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def interhand(tmp_path_factory: pytest.TempPathFactory) -> InterHandTree:
    return write_interhand(tmp_path_factory.mktemp("interhand"))


@pytest.fixture(scope="module")
def train(interhand: InterHandTree) -> InterHandDataset:
    return InterHandDataset(interhand.root, interhand.detections, labels=True)


@pytest.fixture
def copy(interhand: InterHandTree, tmp_path: Path) -> Path:
    """A tree to spoil."""
    return Path(shutil.copytree(interhand.root, tmp_path / "copy"))


def test_labels_cameras_and_keypoints_agree(
    train: InterHandDataset, interhand: InterHandTree
) -> None:
    sides, sizes = set(), set()
    for i, (name, sample) in enumerate(zip(train.names, train, strict=True)):
        left = "left" in name
        sides.add(left)
        sizes.add(read_image(train.path(i)).size)
        assert train.is_left(i) is left
        assert sample.labels is not None
        joints = interhand.frames[name].joints * (FLIP if left else 1)
        known = sample.labels.joints[0].isfinite().all(-1)
        np.testing.assert_allclose(sample.labels.joints[0, known], joints[known], atol=1e-6)
        projected = project(torch.from_numpy(joints)[None].float(), sample.camera.intrinsics)
        torch.testing.assert_close(projected, sample.keypoints, atol=1e-3, rtol=0)
    assert sides == {True, False}
    assert sizes == {(640, 480), SMALL_SIZE}


def test_joints_that_are_not_valid_are_missing(train: InterHandDataset) -> None:
    found = {}
    for name, sample in zip(train.names, train, strict=True):
        if "cam400262" in name and "right" in name:
            assert sample.labels is not None
            missing = ~sample.labels.joints[0].isfinite().all(-1)
            found[int(name[-5:]) - FIRST] = missing.nonzero()[:, 0].tolist()
    assert found == {0: [4], 18: list(range(21)), 36: [], 72: []}


def test_single_hands_of_the_sides_asked_for(interhand: InterHandTree) -> None:
    for sides, words in ((("left",), {"left"}), (("right", "left"), {"left", "right"})):
        dataset = InterHandDataset(interhand.root, interhand.detections, sides=sides)
        assert {name.split("/")[1].split("_")[1] for name in dataset.names} == words
        assert dataset.reasons["both hands"] == 2 * (FRAMES - 1)
        assert dataset[0].labels is None


@pytest.mark.parametrize(("stride", "fps"), [(18, 5.0), (3, 30.0)])
def test_the_stride_is_found_and_a_missing_frame_cuts(
    tmp_path: Path, stride: int, fps: float
) -> None:
    tree = write_interhand(tmp_path, "test", stride)
    dataset = InterHandDataset(tree.root, None, "test", labels=True)
    assert (dataset.stride, dataset.fps) == (stride, fps)
    runs = [[int(dataset.names[i][-5:]) % 1000 for i in run] for run in dataset.segments()]
    first = FIRST % 1000
    expected = [[first, first + stride, first + 2 * stride], [first + 4 * stride]]
    assert sorted(runs) == sorted(4 * expected)


def test_stills_have_no_stride() -> None:
    assert frame_stride(np.array([0, 1]), np.array([5, 9])) == 0
    assert frame_stride(np.array([0, 0, 0, 0]), np.array([0, 3, 6, 24])) == 3


def test_annotations_of_the_first_release_are_found(copy: Path) -> None:
    (copy / "annotations" / "train").rename(copy / "annotations" / "all")
    assert len(InterHandDataset(copy, copy / "detections.json")) == 4 * (FRAMES - 1)


def _without(key: str) -> Callable[[Any], Any]:
    return lambda content: {k: v for k, v in content.items() if k != key}


def _first_image(**changes: Any) -> Callable[[Any], Any]:
    return lambda content: content | {"images": [i | changes for i in content["images"]]}


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("data", _without("images"), "no images or annotations"),
        ("data", lambda _: [], "no images or annotations"),
        ("data", lambda c: c | {"annotations": []}, "has no annotation"),
        ("data", lambda c: c | {"images": c["images"][:2]}, "annotation without an image"),
        ("data", _first_image(capture=5), r"image 'Capture0/.*KeyError '5'"),
        ("data", _first_image(file_name="../../x.jpg"), "leads out of the folder"),
        ("data", _first_image(frame_idx=3), "KeyError '3'"),
        ("camera", lambda _: {"0": {}}, r"train_camera\.json.*KeyError 'camrot'"),
        ("joint_3d", lambda _: None, r"train_joint_3d\.json: TypeError"),
    ],
)
def test_bad_annotations_are_named(
    copy: Path, kind: str, change: Callable[[Any], Any], message: str
) -> None:
    path = copy / "annotations" / "train" / f"InterHand2.6M_train_{kind}.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=message):
        InterHandDataset(copy, copy / "detections.json")


def test_missing_and_damaged_files_are_named(copy: Path) -> None:
    dataset = InterHandDataset(copy, copy / "detections.json")
    dataset.path(0).write_bytes(dataset.path(0).read_bytes()[:200])
    with pytest.raises(ValueError, match=dataset.path(0).name):
        dataset[0]
    dataset.path(0).unlink()
    with pytest.raises(FileNotFoundError, match=dataset.path(0).name):
        InterHandDataset(copy, copy / "detections.json")
    path = copy / "annotations" / "train" / "InterHand2.6M_train_data.json"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"train_data\.json is not valid JSON"):
        InterHandDataset(copy, copy / "detections.json")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"train_data\.json: no such file"):
        InterHandDataset(copy, copy / "detections.json")


def test_an_image_of_another_size_than_annotated_is_refused(copy: Path) -> None:
    path = copy / "annotations" / "train" / "InterHand2.6M_train_data.json"
    path.write_text(json.dumps(_first_image(width=650)(json.loads(path.read_text()))))
    dataset = InterHandDataset(copy, copy / "detections.json")
    with pytest.raises(ValueError, match="the published 650x4"):
        dataset[0]


def test_the_table_takes_little_more_memory_than_its_numbers(
    copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The 30 fps release has 1.4 million annotations: 500 bytes of numbers each, and the JSON."""
    monkeypatch.setenv("S2HAND_CACHE", str(tmp_path / "cache"))
    path = copy / "annotations" / "train" / "InterHand2.6M_train_data.json"
    content = json.loads(path.read_text())
    times = 3000 // len(content["annotations"])
    content["annotations"] *= times
    path.write_text(json.dumps(content))
    tracemalloc.start()
    kept = json.loads(path.read_text())
    parsed = tracemalloc.get_traced_memory()[0]
    del kept
    tracemalloc.reset_peak()
    rows = read_annotations(copy, "train")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(rows["frame"]) == len(content["annotations"])
    assert (peak - parsed) / len(rows["frame"]) < 1800
