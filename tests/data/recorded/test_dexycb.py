"""DexYCB's format: splits, left hands, cuts, and what is refused."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from fixtures.detections import openpose_person
from fixtures.dexycb import CAMERAS, NO_LABEL_FILE, UNLABELLED, DexYcbTree
from fixtures.recorded import mirrored_intrinsics
from s2hand.data.crops import crop_image
from s2hand.data.detections.files import read_detections
from s2hand.data.frames.sources import read_image
from s2hand.data.module import HandDataModule
from s2hand.data.recorded.dexycb import (
    SERIALS,
    DexYcbDataset,
    RecordingId,
    in_split,
    read_intrinsics,
)
from s2hand.geometry.camera import project, transform_points
from s2hand.types import HandBatch
from s2hand.window import Window

FIRST, LAST = CAMERAS
RIGHT = "20200709-subject-01/20200709_140054"
LEFT = "20200820-subject-03/20200820_140054"


@pytest.fixture(scope="module")
def train(dexycb: DexYcbTree) -> DexYcbDataset:
    return DexYcbDataset(dexycb.root, dexycb.detections, "s0", "train", labels=True)


@pytest.fixture
def copy(dexycb: DexYcbTree, tmp_path: Path) -> Path:
    """A tree to spoil."""
    return Path(shutil.copytree(dexycb.root, tmp_path / "copy"))


def mirror(points: np.ndarray) -> np.ndarray:
    return points * np.array([-1.0, 1.0, 1.0])


def seen_intrinsics(name: str) -> np.ndarray:
    """K of the whole image as the network's side of it is counted: flipped for left hands."""
    K = CAMERAS[name.split("/")[2]]
    return mirrored_intrinsics(K) if name.startswith("20200820") else K


class TestSamples:
    def test_labels_cameras_and_keypoints_agree(
        self, train: DexYcbDataset, dexycb: DexYcbTree
    ) -> None:
        sides = set()
        for i, (name, sample) in enumerate(zip(train.names, train, strict=True)):
            frame, left = dexycb.frames[name], name.startswith("20200820")
            sides.add(left)
            assert train.is_left(i) is left
            assert sample.labels is not None
            joints = mirror(frame.joints) if left else frame.joints
            np.testing.assert_allclose(sample.labels.joints[0], joints, atol=1e-6)
            assert sample.labels.vertices.isnan().all()
            projected = project(sample.labels.joints, sample.camera.intrinsics)
            torch.testing.assert_close(projected, sample.keypoints, atol=1e-3, rtol=0)
            # The labelled 2D, brought into the crop by a way of its own.
            uv = np.stack([639 - frame.uv[:, 0], frame.uv[:, 1]], -1) if left else frame.uv
            whole = torch.from_numpy(seen_intrinsics(name))
            affine = sample.camera.intrinsics[0].double() @ torch.linalg.inv(whole)
            labelled = transform_points(affine, torch.from_numpy(uv))
            np.testing.assert_allclose(projected[0], labelled, atol=1e-3)
        assert sides == {True, False}

    def test_the_served_camera_is_an_ordinary_one(self, train: DexYcbDataset) -> None:
        for sample in train:
            K = sample.camera.intrinsics[0]
            assert (K.diagonal() > 0).all()
            assert K[0, 1] == K[1, 0] == 0

    def test_pixels_are_flipped_with_left_hands_only(
        self, train: DexYcbDataset, dexycb: DexYcbTree
    ) -> None:
        for name in (f"{RIGHT}/{LAST}/color_000000", f"{LEFT}/{LAST}/color_000000"):
            index = train.names.index(name)
            sample = train[index]
            affine = sample.camera.intrinsics[0].double().numpy() @ np.linalg.inv(
                seen_intrinsics(name)
            )
            side = 224 / affine[0, 0]
            left, top = -(affine[:2, 2] + 0.5) / affine[0, 0] + 0.5
            if train.is_left(index):
                left = 640 - left - side
            expected = crop_image(read_image(train.path(index)), np.array([left, top, side]), 224)
            if train.is_left(index):
                expected = expected[:, ::-1]
            found = 255 * sample.image[0].permute(1, 2, 0).numpy()
            assert np.abs(found - expected).max() <= 2

    def test_the_hand_is_where_the_joints_are(
        self, train: DexYcbDataset, dexycb: DexYcbTree
    ) -> None:
        for name, sample in zip(train.names, train, strict=True):
            frame = dexycb.frames[name]
            vertices = mirror(frame.vertices) if name.startswith("20200820") else frame.vertices
            points = project(torch.from_numpy(vertices)[None].float(), sample.camera.intrinsics)
            u, v = points[0].round().long().unbind(-1)
            inside = (u >= 0) & (u < 224) & (v >= 0) & (v < 224)
            background = torch.from_numpy(frame.image[0, 0] / 255).float()
            seen = sample.image[0, :, v[inside], u[inside]].T
            assert ((seen - background).abs().amax(-1) > 0.03).float().mean() > 0.95

    def test_labels_are_served_only_when_asked_for(self, dexycb: DexYcbTree) -> None:
        assert all(s.labels is None for s in DexYcbDataset(dexycb.root, dexycb.detections))


class TestCuts:
    def test_windows_are_per_camera_and_cut_at_unlabelled_frames(
        self, train: DexYcbDataset
    ) -> None:
        found = {
            tuple(train.names[i] for i in run)
            for run in train.segments()
            if train.names[run[0]].startswith(LEFT)
        }
        first = [f"{LEFT}/{FIRST}/color_{i:06d}" for i in range(6)]
        last = [f"{LEFT}/{LAST}/color_{i:06d}" for i in range(6)]
        assert found == {
            tuple(first[:UNLABELLED]),
            tuple(first[UNLABELLED + 1 :]),
            tuple(last[:NO_LABEL_FILE]),
            tuple(last[NO_LABEL_FILE + 1 :]),
        }
        assert train.recording(0) == f"{RIGHT}/{FIRST}"

    def test_what_is_dropped_is_counted(self, train: DexYcbDataset, dexycb: DexYcbTree) -> None:
        assert train.reasons["no hand labelled"] == 2
        assert train.reasons["no label file"] == 2
        assert train.reasons["no keypoint detected"] == 1
        assert dexycb.undetected not in train.names

    def test_windows_through_the_datamodule(self, train: DexYcbDataset) -> None:
        data = HandDataModule(train=lambda: train, window=Window(3), batch_size=2)
        for batch in data.train_dataloader():
            for clip in batch.index.tolist():
                names = [train.names[i] for i in clip]
                assert len({name.rpartition("/")[0] for name in names}) == 1
                assert np.diff([int(name[-6:]) for name in names]).tolist() == [1, 1]

    def test_the_test_split_keeps_what_is_not_detected(self, dexycb: DexYcbTree) -> None:
        test = DexYcbDataset(dexycb.root, None, "s0", "test", labels=True)
        assert len(test) == 2
        for sample in test:
            assert sample.confidence.max() == 0
            assert sample.labels is not None
            inside = project(sample.labels.joints, sample.camera.intrinsics)
            assert ((inside > 0) & (inside < 223)).all(), "the whole image is in the crop"
        with pytest.raises(ValueError, match="only supervision"):
            DexYcbDataset(dexycb.root, None, "s0", "val")


class TestSplits:
    @pytest.mark.parametrize("setup", ["s0", "s1", "s2", "s3"])
    def test_every_view_is_in_exactly_one_part(self, setup: Any) -> None:
        recordings = [RecordingId(s, q, c) for s in range(10) for q in range(100) for c in range(8)]
        parts = [
            [in_split(setup, part, r) for r in recordings] for part in ("train", "val", "test")
        ]
        assert (np.sum(parts, 0) == 1).all()

    @pytest.mark.parametrize(
        ("setup", "views"),
        [  # sequences x cameras of train, val and test, counted from the published description
            ("s0", (10 * 80 * 8, 2 * 20 * 8, 8 * 20 * 8)),
            ("s1", (7 * 100 * 8, 1 * 100 * 8, 2 * 100 * 8)),
            ("s2", (1000 * 6, 1000, 1000)),
            ("s3", (10 * 75 * 8, 10 * 10 * 8, 10 * 15 * 8)),
        ],
    )
    def test_the_parts_have_the_published_sizes(
        self, setup: Any, views: tuple[int, int, int]
    ) -> None:
        every = [RecordingId(s, q, c) for s in range(10) for q in range(100) for c in range(8)]
        found = [sum(in_split(setup, part, v) for v in every) for part in ("train", "val", "test")]
        assert tuple(found) == views

    def test_sequences_are_counted_within_their_subject(self, dexycb: DexYcbTree) -> None:
        val = DexYcbDataset(dexycb.root, dexycb.detections, "s0", "val")
        test = DexYcbDataset(dexycb.root, dexycb.detections, "s0", "test")
        assert {n.split("/")[1] for n in val.names} == {"20200709_140454"}
        assert {n.split("/")[1] for n in test.names} == {"20200820_140454"}

    def test_cameras_are_counted_as_the_toolkit_counts_them(self, dexycb: DexYcbTree) -> None:
        test = DexYcbDataset(dexycb.root, dexycb.detections, "s2", "test")
        assert {n.split("/")[2] for n in test.names} == {LAST}
        assert SERIALS.index(LAST) == 7
        with pytest.raises(ValueError, match="no sequence of split s2 val"):
            DexYcbDataset(dexycb.root, dexycb.detections, "s2", "val")

    def test_a_partial_copy_is_told(
        self, dexycb: DexYcbTree, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            DexYcbDataset(dexycb.root, dexycb.detections, "s0", "val")
            assert "subject-01 does not have 100 sequences" in caplog.text
            caplog.clear()
            DexYcbDataset(dexycb.root, dexycb.detections, "s2", "test")
        assert "sequences" not in caplog.text

    def test_unknown_splits_are_refused(self, dexycb: DexYcbTree) -> None:
        with pytest.raises(ValueError, match="setup='s9', split='train': use s0, s1"):
            DexYcbDataset(dexycb.root, dexycb.detections, "s9")  # type: ignore[arg-type]


class TestDetections:
    def test_openpose_gives_each_frame_the_hand_it_is_labelled_with(
        self, dexycb: DexYcbTree, tmp_path: Path, train: DexYcbDataset
    ) -> None:
        found = read_detections(dexycb.detections)
        for name, uv, confidence in zip(
            found.names, found.keypoints, found.confidence, strict=True
        ):
            labelled, other = np.column_stack([uv, confidence]), np.full((21, 3), 300.0)
            sides = {"left": labelled, "right": other}
            if not name.startswith("20200820"):
                sides = {"left": other, "right": labelled}
            file = tmp_path / "openpose" / f"{name}_keypoints.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"people": [openpose_person(**sides)]}))
        same = DexYcbDataset(dexycb.root, tmp_path / "openpose", "s0", "train")
        assert same.names == train.names
        for sample, expected in zip(same, train, strict=True):
            torch.testing.assert_close(sample.keypoints, expected.keypoints, atol=1e-3, rtol=0)

    def test_detections_of_other_names(self, dexycb: DexYcbTree) -> None:
        found = read_detections(dexycb.detections)
        other = replace(found, names=tuple(f"x{n}" for n in found.names))
        with pytest.raises(ValueError, match=f"no detection named '{RIGHT}/{FIRST}/color_000000'"):
            DexYcbDataset(dexycb.root, other)


class TestFiles:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda m: m.update(serials=["../x"]), r"meta\.yml: serials \['\.\./x'\]; known are"),
            (lambda m: m.update(num_frames=-1), r"meta\.yml: num_frames is -1"),
            (lambda m: m.update(num_frames=3), r"num_frames is 3, but .* holds color_000003"),
            (lambda m: m.update(mano_sides=["both"]), r"meta\.yml: mano_sides is \['both'\]"),
            (lambda m: m.pop("mano_sides"), r"meta\.yml: no 'mano_sides' in it"),
        ],
    )
    def test_metas_are_checked(
        self, copy: Path, change: Callable[[dict[str, Any]], Any], message: str
    ) -> None:
        path = copy / RIGHT / "meta.yml"
        content = yaml.safe_load(path.read_text())
        change(content)
        path.write_text(yaml.safe_dump(content))
        with pytest.raises(ValueError, match=message):
            DexYcbDataset(copy, copy / "detections.json")

    def test_yaml_that_names_objects_is_refused(self, copy: Path) -> None:
        path = copy / RIGHT / "meta.yml"
        path.write_text(f"!!python/object/apply:os.system ['touch {copy / 'touched'}']\n")
        with pytest.raises(ValueError, match=r"meta\.yml is not plain YAML"):
            DexYcbDataset(copy, copy / "detections.json")
        assert not (copy / "touched").exists()

    def test_intrinsics_are_read_and_checked(self, copy: Path) -> None:
        np.testing.assert_allclose(read_intrinsics(copy, FIRST), CAMERAS[FIRST])
        path = copy / "calibration" / "intrinsics" / f"{FIRST}_640x480.yml"
        path.write_text("color: {fx: 600, fy: 600, ppx: 320}\n")
        with pytest.raises(ValueError, match=r"_640x480\.yml: color must hold .* ppy"):
            DexYcbDataset(copy, copy / "detections.json")
        path.unlink()
        with pytest.raises(FileNotFoundError, match=r"_640x480\.yml: no such file"):
            DexYcbDataset(copy, copy / "detections.json")

    @pytest.mark.parametrize(
        "write",
        [
            lambda path: path.write_bytes(b""),
            lambda path: path.write_bytes(path.read_bytes()[:200]),
            lambda path: np.savez(path, joint_2d=np.zeros((1, 21, 2))),
            lambda path: np.savez(path, joint_3d=np.zeros((1, 20, 3))),
            lambda path: np.savez(path, joint_3d=np.array([None], dtype=object)),
        ],
    )
    def test_broken_labels_are_named(self, copy: Path, write: Callable[[Path], Any]) -> None:
        write(copy / RIGHT / FIRST / "labels_000002.npz")
        with pytest.raises(ValueError, match=r"cannot read .*labels_000002\.npz \(joint_3d"):
            DexYcbDataset(copy, copy / "detections.json")

    def test_a_missing_image_is_named(self, copy: Path) -> None:
        (copy / RIGHT / FIRST / "color_000002.jpg").unlink()
        with pytest.raises(FileNotFoundError, match=r"color_000002\.jpg"):
            DexYcbDataset(copy, copy / "detections.json")

    def test_another_folder_is_no_dexycb(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no folder such as 20200709-subject-01"):
            DexYcbDataset(tmp_path, None)


def test_samples_join(train: DexYcbDataset) -> None:
    batch = HandBatch.stack([train[0], train[len(train) - 1]])
    assert batch.image.shape == (2, 1, 3, 224, 224)
    assert batch.labels is not None
    assert batch.labels.joints.shape == (2, 1, 21, 3)
