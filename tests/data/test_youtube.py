"""YouTube-3D-Hands' format: no camera, no size, and so no labels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.youtube import SMALL_SIZE, TWICE, UNDETECTED, YouTubeTree, write_youtube
from s2hand.data.detections import Detections
from s2hand.data.youtube import YouTubeDataset
from s2hand.geometry.camera import intrinsics_from_fov


@pytest.fixture(scope="module")
def youtube(tmp_path_factory: pytest.TempPathFactory) -> YouTubeTree:
    return write_youtube(tmp_path_factory.mktemp("youtube"))


@pytest.fixture
def copy(youtube: YouTubeTree, tmp_path: Path) -> Path:
    """A tree to spoil."""
    return Path(shutil.copytree(youtube.root, tmp_path / "copy"))


def test_hands_are_samples_and_keypoints_lie_in_their_crops(youtube: YouTubeTree) -> None:
    dataset = YouTubeDataset(youtube.root, youtube.detections)
    assert [*dataset.names] == [
        "youtube/a/video/frames/10/right", "youtube/a/video/frames/20/left",
    ]  # fmt: skip
    assert dataset.reasons["two hands of one side"] == 2
    assert dataset.reasons["no keypoint detected"] == 1
    for i, sample in enumerate(dataset):
        name = dataset.names[i]
        assert dataset.is_left(i) is name.endswith("left")
        size = SMALL_SIZE if dataset.is_left(i) else (640, 480)
        whole = intrinsics_from_fov(*size, 60.0).numpy()
        uv = youtube.frames[name].uv.copy()
        if dataset.is_left(i):  # the flipped picture's own K has its middle in the middle, too
            uv[:, 0] = size[0] - 1 - uv[:, 0]
            whole[0, 2] = size[0] - 1 - whole[0, 2]
        affine = sample.camera.intrinsics[0].double().numpy() @ np.linalg.inv(whole)
        expected = uv @ affine[:2, :2].T + affine[:2, 2]
        np.testing.assert_allclose(sample.keypoints[0], expected, atol=1e-3)


def test_no_labels_are_served_but_the_mesh_in_pixels_is_there(youtube: YouTubeTree) -> None:
    dataset = YouTubeDataset(youtube.root, youtube.detections)
    assert all(sample.labels is None for sample in dataset)
    truth = youtube.frames[dataset.names[1]].vertices * 900
    seen = dataset.pixel_vertices(1)
    np.testing.assert_allclose(seen - [300, 300, 0], truth, atol=1e-2)


def test_the_test_split_keeps_what_is_not_detected(youtube: YouTubeTree) -> None:
    dataset = YouTubeDataset(youtube.root, youtube.detections, "test")
    assert not dataset[dataset.names.index(UNDETECTED)].confidence.any()
    assert len(YouTubeDataset(youtube.root, None, "test")) == 3
    assert not any(TWICE in name for name in dataset.names)
    assert dataset.segments() == [[0], [1], [2]]


def test_detections_without_sides_name_samples(youtube: YouTubeTree) -> None:
    names = tuple(youtube.frames)
    uv = np.stack([frame.uv for frame in youtube.frames.values()])
    dataset = YouTubeDataset(youtube.root, Detections(names, uv, np.full((4, 21), 0.9)))
    assert len(dataset) == 3
    pictures = tuple(name.rpartition("/")[0] for name in names)
    with pytest.raises(ValueError, match="no detection named"):
        YouTubeDataset(youtube.root, Detections(pictures, uv, np.full((4, 21), 0.9)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: [], r"youtube_train\.json: TypeError"),
        (lambda c: c | {"images": []}, "KeyError 43"),
        (lambda c: {"images": c["images"], "annotations": []}, "no picture has one"),
        (lambda c: c | {"images": [i | {"name": "/etc/x.png"} for i in c["images"]]}, "leads out"),
        (lambda c: c | {"images": [i | {"width": 0} for i in c["images"]]}, "not positive"),
        (
            lambda c: (
                c | {"annotations": [a | {"vertices": [[1, 2, 3]]} for a in c["annotations"]]}
            ),
            r"vertices of shape \(1, 3\)",
        ),
    ],
)
def test_bad_annotations_are_named(copy: Path, change: Callable[[Any], Any], message: str) -> None:
    path = copy / "youtube_train.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=message):
        YouTubeDataset(copy, copy / "openpose")


def test_missing_and_resized_pictures_are_named(copy: Path) -> None:
    path = copy / "youtube_train.json"
    content = json.loads(path.read_text())
    path.write_text(
        json.dumps(content | {"images": [i | {"width": 700} for i in content["images"]]})
    )
    dataset = YouTubeDataset(copy, copy / "openpose")
    with pytest.raises(ValueError, match="the published 700x"):
        dataset[0]
    (copy / "youtube/a/video/frames/10.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"frames/10\.png: no such picture"):
        YouTubeDataset(copy, copy / "openpose")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"youtube_train\.json: no such file"):
        YouTubeDataset(copy, copy / "openpose")
