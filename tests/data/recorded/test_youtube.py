"""YouTube-3D-Hands' format: no camera, no size; labels are shapes alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes

from fixtures.youtube import SMALL_SIZE, TWICE, UNDETECTED, YouTubeTree, write_youtube
from s2hand.data.detections.base import Detections
from s2hand.data.recorded.youtube import LABEL_RADIUS_M, YouTubeDataset
from s2hand.geometry.camera import intrinsics_from_fov
from s2hand.geometry.procrustes import procrustes_align
from s2hand.metric.hands import HandMetrics
from s2hand.metric.protocols import BenchmarkMetrics
from s2hand.types import HandBatch, Labels


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


def test_labels_are_shapes_of_one_size(youtube: YouTubeTree) -> None:
    """Aligned, the true hand is the label; so it is mirrored, as the picture of a left hand is."""
    assert all(s.labels is None for s in YouTubeDataset(youtube.root, youtube.detections))
    dataset = YouTubeDataset(youtube.root, youtube.detections, labels=True)
    truth = torch.from_numpy(np.stack([youtube.frames[name].vertices for name in dataset.names]))
    truth[[dataset.is_left(i) for i in range(len(dataset))]] *= torch.tensor([-1.0, 1, 1])
    labels = Labels.stack([sample.labels for sample in dataset])  # type: ignore[misc]
    assert labels.joints.isnan().all()
    vertices = labels.vertices[:, 0]
    radius = (vertices - vertices.mean(1, keepdim=True)).square().sum(-1).mean(-1).sqrt()
    torch.testing.assert_close(radius, torch.full_like(radius, LABEL_RADIUS_M))
    aligned = procrustes_align(truth, vertices.double(), reflection="proper").points
    torch.testing.assert_close(aligned, vertices.double(), atol=1e-6, rtol=0)


def aligned_error_mm(points: torch.Tensor, truth: torch.Tensor) -> float:
    """By scipy."""
    a, b = (x.double().numpy() - x.double().numpy().mean(0) for x in (points, truth))
    rotation, scale = orthogonal_procrustes(a, b)
    return float(
        1000 * np.linalg.norm(scale / np.square(a).sum() * a @ rotation - b, axis=-1).mean()
    )


def test_its_protocol_knows_neither_size_nor_place(youtube: YouTubeTree) -> None:
    dataset = YouTubeDataset(youtube.root, youtube.detections, labels=True)
    true = torch.cat([sample.labels.vertices for sample in dataset])  # type: ignore[union-attr]
    count = len(true)
    unknown = torch.zeros(count, 21, 3), torch.full((count, 21, 3), torch.nan)
    metric = BenchmarkMetrics("youtube")
    metric.update(*unknown, 7 * true - 2, true)
    assert metric.compute() == {"pa_mpvpe_mm": pytest.approx(0, abs=1e-4)}
    moved = true.clone()
    moved[:, 0, 0] += 0.0778  # one of 778 vertices
    metric.reset()
    metric.update(*unknown, moved, true)
    expected = np.mean([aligned_error_mm(*pair) for pair in zip(moved, true, strict=True)])
    assert expected > 0.1  # what it would be if the others stayed where they are
    assert metric.compute()["pa_mpvpe_mm"] == pytest.approx(expected, rel=1e-5)


def test_the_usual_metrics_leave_meshes_of_unknown_size_out(youtube: YouTubeTree) -> None:
    dataset = YouTubeDataset(youtube.root, youtube.detections, labels=True)
    batch = HandBatch.stack(list(dataset))
    assert batch.labels is not None
    hand = SimpleNamespace(
        vertices=batch.labels.vertices, joints=torch.zeros_like(batch.labels.joints)
    )
    metrics = HandMetrics()
    metrics.update(SimpleNamespace(hand=hand, joints_2d=batch.keypoints), batch)  # type: ignore[arg-type]
    assert set(metrics.compute()) == {"error_2d_px", "error_2d_confident_px"}


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
        (lambda c: [], r"youtube_train\.json: no picture has exactly one annotated hand"),
        (lambda c: c | {"images": []}, "KeyError 43"),
        (lambda c: {"images": c["images"], "annotations": []}, "no picture has exactly one"),
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


def test_the_two_hands_of_a_picture_do_not_follow_each_other(copy: Path) -> None:
    path = copy / "youtube_test.json"
    content = json.loads(path.read_text())
    picture = {"image_id": content["images"][0]["id"]}
    hand = content["annotations"][0]
    content["annotations"] = [hand | picture | {"is_left": left} for left in (True, False)]
    path.write_text(json.dumps(content))
    dataset = YouTubeDataset(copy, None, "test")
    assert len({name.rpartition("/")[0] for name in dataset.names}) == 1
    assert dataset.segments() == [[0], [1]]
