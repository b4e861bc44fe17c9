"""HO-3D's format: axes, orders, cuts, splits, crops, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fixtures.detections import write_published
from fixtures.ho3d import (
    EVALUATION_UNDETECTED,
    NO_ANNOTATION,
    NO_META,
    UNDETECTED,
    Ho3dTree,
    meta_path,
)
from fixtures.mano_pickles import python2_pickle
from fixtures.recorded import Filmed, K
from s2hand.data.crops import crop_image
from s2hand.data.detections.files import read_detections
from s2hand.data.frames.sources import read_image
from s2hand.data.module import HandDataModule
from s2hand.data.recorded import ho3d as loader
from s2hand.data.recorded.ho3d import Ho3dDataset, read_list, recording_of
from s2hand.geometry.camera import crop_affine, project, transform_points
from s2hand.hand.mano import ManoHead
from s2hand.types import HandBatch
from s2hand.window import Window


@pytest.fixture(scope="module")
def train(ho3d: Ho3dTree) -> Ho3dDataset:
    return Ho3dDataset(ho3d.root, ho3d.detections, labels=True)


@pytest.fixture(scope="module")
def evaluation(ho3d: Ho3dTree) -> Ho3dDataset:
    return Ho3dDataset(ho3d.root, ho3d.evaluation_detections, "evaluation", labels=True)


@pytest.fixture
def copy(ho3d: Ho3dTree, tmp_path: Path) -> Path:
    """A tree to spoil."""
    return Path(shutil.copytree(ho3d.root, tmp_path / "copy"))


def edit_meta(root: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Write a meta file anew, of K and nothing else but what is changed."""
    path = root / "train" / meta_path(name)
    content: dict[str, Any] = {"camMat": K, "handJoints3D": np.zeros((21, 3)) - [0, 0, 1]}
    change(content)
    path.write_bytes(python2_pickle(content))
    return path


def crop_of(sample: HandBatch) -> torch.Tensor:
    """The map from image to crop pixels that the camera of a sample contains."""
    return sample.camera.intrinsics[0].double() @ torch.linalg.inv(torch.from_numpy(K))


def assert_shows(sample: HandBatch, frame: Filmed) -> None:
    """Labels, K, keypoints and pixels of a sample are those of a filmed frame."""
    assert sample.labels is not None
    np.testing.assert_allclose(sample.labels.joints[0], frame.joints, atol=1e-6)
    projected = project(sample.labels.joints, sample.camera.intrinsics)
    labelled = transform_points(crop_of(sample), torch.from_numpy(frame.uv))
    np.testing.assert_allclose(projected[0], labelled, atol=1e-3)
    if sample.confidence.any():
        torch.testing.assert_close(sample.keypoints, projected, atol=1e-3, rtol=0)
    vertices = torch.from_numpy(frame.vertices)[None].float()
    u, v = project(vertices, sample.camera.intrinsics)[0].round().long().unbind(-1)
    inside = (u >= 0) & (u < 224) & (v >= 0) & (v < 224)
    seen = sample.image[0, :, v[inside], u[inside]].T
    background = torch.from_numpy(frame.image[0, 0] / 255).float()
    on_hand = (seen - background).abs().amax(-1) > 0.03
    assert inside.float().mean() > 0.8
    assert on_hand.float().mean() > 0.95


class TestConventions:
    def test_training_samples_show_the_truth(self, train: Ho3dDataset, ho3d: Ho3dTree) -> None:
        for name, sample in zip(train.names, train, strict=True):
            assert_shows(sample, ho3d.frames[name])
            assert sample.labels is not None
            assert sample.labels.vertices.isnan().all()

    def test_evaluation_samples_show_the_truth(
        self, evaluation: Ho3dDataset, ho3d: Ho3dTree
    ) -> None:
        for name, sample in zip(evaluation.names, evaluation, strict=True):
            frame = ho3d.frames[name]
            assert_shows(sample, frame)
            assert sample.labels is not None
            np.testing.assert_allclose(sample.labels.vertices[0], frame.vertices, atol=1e-6)

    def test_joints_are_the_chains_with_ho3ds_tips(
        self, evaluation: Ho3dDataset, ho3d: Ho3dTree
    ) -> None:
        labels = evaluation[0].labels
        assert labels is not None
        tips = ManoHead("open", convention="ho3d").convention.tips
        np.testing.assert_allclose(
            labels.joints[0, [4, 8, 12, 16, 20]], labels.vertices[0, list(tips)], atol=1e-6
        )

    def test_labels_are_served_only_when_asked_for(self, ho3d: Ho3dTree) -> None:
        assert all(s.labels is None for s in Ho3dDataset(ho3d.root, ho3d.detections))
        found = Ho3dDataset(ho3d.root, ho3d.evaluation_detections, "evaluation")
        assert found[0].labels is None

    def test_opencv_axes_in_the_files_are_refused(self, copy: Path) -> None:
        for path in (copy / "train").glob("SM2/meta/*.pkl"):
            edit_meta(copy, f"SM2/{path.stem}", lambda c: c.update(handJoints3D=np.ones((21, 3))))
        with pytest.raises(ValueError, match=r"SM2/meta/\d{4}\.pkl: z = -1 m .* OpenGL axes"):
            Ho3dDataset(copy, copy / "detections.json", labels=True)


class TestCuts:
    def test_segments_never_cross_a_gap(self, train: Ho3dDataset) -> None:
        assert [[train.names[i] for i in run] for run in train.segments()] == [
            ["ABF10/0000", "ABF10/0001", "ABF10/0002"],
            ["ABF10/0004", "ABF10/0005"],  # 0003 is not detected
            [f"ABF11/{i:04d}" for i in range(6)],
            ["ABF12/0000", "ABF12/0001"],  # 0002 has no meta
            ["ABF12/0003"],  # 0004 has None
            ["ABF12/0005"],
            ["MC1/0000", "MC1/0001", "MC1/0002"],  # 0003 is not in the list
            ["MC1/0004", "MC1/0005", "MC1/0006"],
            ["SM2/0009", "SM2/0010", "SM2/0011"],
        ]

    def test_what_is_dropped_is_counted(self, train: Ho3dDataset) -> None:
        assert {NO_META, NO_ANNOTATION, UNDETECTED}.isdisjoint(train.names)
        assert train.reasons["no meta file"] == 1
        assert train.reasons["None in the meta file"] == 1
        assert train.reasons["no keypoint detected"] == 1
        assert len(train) == 27 - 3

    def test_evaluation_is_in_submission_order_and_its_segments_in_time(
        self, evaluation: Ho3dDataset, ho3d: Ho3dTree
    ) -> None:
        assert list(evaluation.names) == ho3d.evaluation
        assert ho3d.evaluation != sorted(ho3d.evaluation)
        assert [[evaluation.names[i] for i in run] for run in evaluation.segments()] == [
            [f"MPM10/{i:04d}" for i in range(4)],
            [f"SM1/{i:04d}" for i in range(4)],
        ]

    @pytest.mark.parametrize("workers", [0, 2])
    def test_windows_through_the_datamodule(self, train: Ho3dDataset, workers: int) -> None:
        data = HandDataModule(
            train=lambda: train, window=Window(3), batch_size=2, num_workers=workers
        )
        for batch in data.train_dataloader():
            assert batch.image.shape == (2, 3, 3, 224, 224)
            for clip in batch.index.tolist():
                sequences, numbers = zip(*(train.names[i].split("/") for i in clip), strict=True)
                assert len(set(sequences)) == 1
                assert np.diff([int(n) for n in numbers]).tolist() == [1, 1]

    def test_30_frames_per_second(self, train: Ho3dDataset) -> None:
        assert train.fps == 30
        assert train.recording(0) == "ABF10"


class TestSplits:
    def test_cameras_of_one_recording_stay_together(self, ho3d: Ho3dTree) -> None:
        train, val = (
            Ho3dDataset(ho3d.root, ho3d.detections, split, val_every=2)
            for split in ("train", "val")
        )
        sequences = [{name.partition("/")[0] for name in part.names} for part in (train, val)]
        assert sequences == [{"ABF10", "ABF11", "ABF12", "SM2"}, {"MC1"}]
        whole = Ho3dDataset(ho3d.root, ho3d.detections)
        assert sorted([*train.names, *val.names]) == sorted(whole.names)

    @pytest.mark.parametrize(
        ("sequence", "recording"),
        [("ABF10", "ABF1"), ("ABF14", "ABF1"), ("SMu41", "SMu4"), ("SMu1", "SMu1"), ("SM2", "SM2")],
    )
    def test_the_last_of_two_digits_is_a_camera(self, sequence: str, recording: str) -> None:
        assert recording_of(sequence) == recording

    @pytest.mark.parametrize(
        ("split", "val_every", "message"),
        [
            ("val", 0, "'val' is empty: give val_every, 2 to the 3 recordings"),
            ("val", 9, "'val' is empty"),
            ("train", 1, "val_every=1"),
            ("test", 0, "split='test'"),
        ],
    )
    def test_impossible_splits(
        self, ho3d: Ho3dTree, split: Any, val_every: int, message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            Ho3dDataset(ho3d.root, ho3d.detections, split, val_every=val_every)


class TestCrops:
    def test_crops_come_from_detections_and_repeat(
        self, train: Ho3dDataset, ho3d: Ho3dTree
    ) -> None:
        shifted = read_detections(ho3d.detections)
        moved = replace(shifted, keypoints=shifted.keypoints + 25.0)
        other = Ho3dDataset(ho3d.root, moved, smooth_frames=0)
        same = Ho3dDataset(ho3d.root, ho3d.detections, smooth_frames=0)
        delta = crop_of(same[0])[:2, 2] - crop_of(other[0])[:2, 2]
        torch.testing.assert_close(delta, 25.0 * crop_of(same[0]).diagonal()[:2], atol=1e-4, rtol=0)
        again = Ho3dDataset(ho3d.root, ho3d.detections, labels=True)
        assert again.content_key == train.content_key != other.content_key
        torch.testing.assert_close(again[5].image, train[5].image)

    def test_crops_are_smoothed_within_their_sequence_alone(self, ho3d: Ho3dTree) -> None:
        found = read_detections(ho3d.detections)
        pushed = np.array([name.startswith("ABF11") for name in found.names])
        keypoints = found.keypoints + 40.0 * pushed[:, None, None]
        before = Ho3dDataset(ho3d.root, found)
        after = Ho3dDataset(ho3d.root, replace(found, keypoints=keypoints))
        rough = Ho3dDataset(ho3d.root, found, smooth_frames=0)
        for name, a, b in zip(before.names, before, after, strict=True):
            same = torch.equal(a.camera.intrinsics, b.camera.intrinsics)
            assert same != name.startswith("ABF11")
        assert not torch.equal(before[1].camera.intrinsics, rough[1].camera.intrinsics)

    def test_the_image_is_the_crop_of_the_file(self, train: Ho3dDataset) -> None:
        sample = train[2]
        scale, (left, top) = crop_of(sample)[0, 0], crop_of(sample)[:2, 2]
        side = 224 / scale
        box = torch.stack([-(left + 0.5) / scale + 0.5, -(top + 0.5) / scale + 0.5, side])
        torch.testing.assert_close(
            crop_affine(*box.tolist(), 224), crop_of(sample), atol=1e-4, rtol=1e-5
        )
        expected = crop_image(read_image(train.path(2)), box.numpy(), 224)
        assert np.abs(255 * sample.image[0].permute(1, 2, 0).numpy() - expected).max() <= 2

    def test_undetected_evaluation_frames_get_the_published_box(self, ho3d: Ho3dTree) -> None:
        found = Ho3dDataset(
            ho3d.root, ho3d.evaluation_detections, "evaluation", margin=1.5, smooth_frames=0
        )
        index = found.names.index(EVALUATION_UNDETECTED)
        assert found[index].confidence.max() == 0
        assert found[index].keypoints.abs().max() == 0
        uv = ho3d.frames[EVALUATION_UNDETECTED].uv
        low, high = np.floor(uv.min(0)), np.ceil(uv.max(0))
        affine = crop_of(found[index])
        assert 224 / affine[0, 0] == pytest.approx(1.5 * (high - low).max())
        middle = transform_points(affine, torch.from_numpy((low + high) / 2)[None])
        torch.testing.assert_close(middle, torch.full_like(middle, 111.5), atol=1e-4, rtol=0)

    def test_evaluation_needs_no_detections(self, ho3d: Ho3dTree) -> None:
        found = Ho3dDataset(ho3d.root, None, "evaluation", labels=True)
        assert list(found.names) == ho3d.evaluation
        for name, sample in zip(found.names, found, strict=True):
            assert sample.confidence.max() == 0
            assert_shows(sample, ho3d.frames[name])
        with pytest.raises(ValueError, match="only supervision"):
            Ho3dDataset(ho3d.root, None)

    def test_a_smaller_image_samples_the_same_crop(
        self, train: Ho3dDataset, ho3d: Ho3dTree
    ) -> None:
        half = Ho3dDataset(ho3d.root, ho3d.detections, image_px=112)
        torch.testing.assert_close(half[0].camera, train[0].camera)
        pooled = torch.nn.functional.avg_pool2d(train[0].image, 2)
        assert (half[0].image - pooled).abs().mean() < 0.01
        assert half.content_key != train.content_key


class TestFiles:
    def test_metas_are_read_once(self, ho3d: Ho3dTree, monkeypatch: pytest.MonkeyPatch) -> None:
        before = Ho3dDataset(ho3d.root, ho3d.detections)

        def must_not_read(*args: Any) -> None:
            raise AssertionError("read again")

        monkeypatch.setattr(loader, "read_pickle", must_not_read)
        assert Ho3dDataset(ho3d.root, ho3d.detections).content_key == before.content_key

    def test_a_changed_meta_is_read_again(self, copy: Path) -> None:
        Ho3dDataset(copy, copy / "detections.json")
        edit_meta(copy, "SM2/0010", lambda content: content.update(handJoints3D=None))
        again = Ho3dDataset(copy, copy / "detections.json")
        assert again.reasons["None in the meta file"] == 2

    def test_a_meta_that_runs_code_is_refused_and_does_not_run(self, copy: Path) -> None:
        class Hostile:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.system, (f"touch {copy / 'touched'}",)

        path = copy / "train" / meta_path("MC1/0002")
        path.write_bytes(pickle.dumps({"camMat": K, "evil": Hostile()}))
        with pytest.raises(ValueError, match=r"0002\.pkl: refused, it names posix\.system"):
            Ho3dDataset(copy, copy / "detections.json")
        assert not (copy / "touched").exists()
        skipping = Ho3dDataset(copy, copy / "detections.json", skip=["MC1/0002"])
        assert skipping.reasons["in the skip list"] == 1

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda c: c.update(camMat=np.eye(4)), r"shape \(4, 4\) where \(3, 3\)"),
            (lambda c: c.update(camMat=np.eye(3)), "0002.pkl: focal lengths 1 and 1 px"),
            (lambda c: c.update(camMat="none"), "0002.pkl: could not convert"),
            (
                lambda c: c.update(handJoints3D=np.zeros((20, 3))),
                r"shape \(20, 3\) where \(21, 3\)",
            ),
        ],
    )
    def test_fields_of_other_shapes(
        self, copy: Path, change: Callable[[dict[str, Any]], Any], message: str
    ) -> None:
        edit_meta(copy, "MC1/0002", change)
        with pytest.raises(ValueError, match=message):
            Ho3dDataset(copy, copy / "detections.json")

    def test_a_missing_image_is_named(self, copy: Path) -> None:
        (copy / "train" / "MC1" / "rgb" / "0002.png").unlink()
        with pytest.raises(
            FileNotFoundError, match=r"0002: neither \.png nor \.jpg is there, .*txt"
        ):
            Ho3dDataset(copy, copy / "detections.json")

    def test_evaluation_misses_nothing(self, copy: Path) -> None:
        (copy / "evaluation" / meta_path("SM1/0003")).unlink()
        with pytest.raises(ValueError, match=r"SM1/0003 has no meta file.* keeps every frame"):
            Ho3dDataset(copy, None, "evaluation")
        with pytest.raises(ValueError, match="order matters"):
            Ho3dDataset(copy, None, "evaluation", skip=["SM1/0003"])

    def test_an_image_of_another_size_is_named(self, copy: Path) -> None:
        path = copy / "train" / "SM2" / "rgb" / "0009.png"
        read_image(path).resize((320, 240)).save(path)
        dataset = Ho3dDataset(copy, copy / "detections.json")
        with pytest.raises(ValueError, match=r"0009\.png is 320x240; .*640x480"):
            dataset[dataset.names.index("SM2/0009")]

    def test_without_published_truth_there_are_no_labels(self, copy: Path) -> None:
        (copy / "evaluation_xyz.json").unlink()
        assert Ho3dDataset(copy, None, "evaluation", labels=True)[0].labels is None

    def test_truth_of_another_length(self, copy: Path) -> None:
        path = copy / "evaluation_xyz.json"
        path.write_text(json.dumps(json.loads(path.read_text())[1:]))
        with pytest.raises(ValueError, match=r"xyz\.json has 7 frames, evaluation\.txt 8"):
            Ho3dDataset(copy, None, "evaluation", labels=True)

    def test_detections_of_other_names(self, ho3d: Ho3dTree, tmp_path: Path) -> None:
        path = write_published(
            tmp_path / "d.json", np.ones((1, 21, 2)) * 99, np.ones((1, 21)), ["ABF10/0001"]
        )
        with pytest.raises(ValueError, match="no detection named 'ABF10/0000'"):
            Ho3dDataset(ho3d.root, path)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("ABF10/0000\n../../etc/0001\n", r"entry 1: '\.\./\.\./etc/0001'; expected SEQUENCE"),
            ("ABF10\n", "entry 0: 'ABF10'"),
            ("ABF10/0000\nABF10/0001\nABF10/0000\n", "'ABF10/0000' is listed twice"),
        ],
    )
    def test_lists_are_checked(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "train.txt").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_list(tmp_path / "train.txt")

    def test_a_missing_list_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"train\.txt: no such list; root must hold"):
            Ho3dDataset(tmp_path, None)
