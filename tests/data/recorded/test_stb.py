"""STB's format: the mirrored hand, the palm's centre, three cameras, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import loadmat, savemat

from fixtures.stb import BASELINE_M, GAP, UNDETECTED, StbTree, image_path
from s2hand.data.detections.files import read_detections
from s2hand.data.module import HandDataModule
from s2hand.data.recorded.stb import CAMERAS, StbDataset, read_label_file, wrist_from_palm
from s2hand.geometry.camera import project
from s2hand.window import Window

ALL = ("BB_left", "BB_right", "SK_color")
FLIP = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def train(stb: StbTree) -> StbDataset:
    return StbDataset(stb.root, stb.detections, cameras=ALL, labels=True)


@pytest.fixture
def copy(stb: StbTree, tmp_path: Path) -> Path:
    """A tree to spoil."""
    return Path(shutil.copytree(stb.root, tmp_path / "copy"))


class TestSamples:
    def test_labels_cameras_and_keypoints_agree(self, train: StbDataset, stb: StbTree) -> None:
        for index, (name, sample) in enumerate(zip(train.names, train, strict=True)):
            assert train.is_left(index)
            assert sample.labels is not None
            np.testing.assert_allclose(
                sample.labels.joints[0], stb.frames[name].joints * FLIP, atol=1e-6
            )
            assert sample.labels.vertices.isnan().all()
            projected = project(sample.labels.joints, sample.camera.intrinsics)
            torch.testing.assert_close(projected, sample.keypoints, atol=1e-3, rtol=0)

    def test_the_hand_is_where_the_joints_are(self, train: StbDataset, stb: StbTree) -> None:
        for name in ("B2Random/SK_color/0", "B2Random/BB_left/1"):
            sample = train[train.names.index(name)]
            vertices = torch.from_numpy(stb.frames[name].vertices * FLIP)[None].float()
            u, v = project(vertices, sample.camera.intrinsics)[0].round().long().unbind(-1)
            inside = (u >= 0) & (u < 224) & (v >= 0) & (v < 224)
            background = torch.from_numpy(stb.frames[name].image[0, 0] / 255).float()
            seen = sample.image[0, :, v[inside], u[inside]].T
            assert ((seen - background).abs().amax(-1) > 0.03).float().mean() > 0.9

    def test_both_eyes_see_one_hand(self, train: StbDataset) -> None:
        left, right = (train[train.names.index(f"B6Counting/{c}/1")] for c in ALL[:2])
        assert left.labels is not None
        assert right.labels is not None
        moved = right.labels.joints - left.labels.joints
        torch.testing.assert_close(
            moved, torch.tensor([BASELINE_M, 0, 0]).expand_as(moved), atol=1e-6, rtol=0
        )  # mirrored, so x grows

    def test_joint_0_of_the_files_is_not_taken_for_the_wrist(self, stb: StbTree) -> None:
        frame = stb.frames["B1Counting/BB_left/0"]
        points = read_label_file(stb.root / "labels" / "B1Counting_BB.mat")[0] / 1000
        assert np.linalg.norm(points[0] - frame.joints[0]) > 0.02
        palm = frame.joints.copy()
        palm[0] = points[0]
        np.testing.assert_allclose(wrist_from_palm(palm[None])[0], frame.joints, atol=1e-9)

    def test_labels_are_neither_read_nor_served_unless_asked_for(self, copy: Path) -> None:
        shutil.rmtree(copy / "labels")
        dataset = StbDataset(copy, copy / "detections.json")
        assert all(sample.labels is None for sample in dataset)
        assert len(dataset) == 10 - 2

    def test_depth_labels_move_less_than_their_cameras_are_apart(self) -> None:
        points = np.array([[[0.0, 0.0, 500.0]]])
        moved = CAMERAS["SK_color"].from_labels(points)[0, 0] - points[0, 0] / 1000
        # (X - t) R: +24 mm by t, and 500 mm turned by -0.01196 about y
        np.testing.assert_allclose(moved[0], 0.0240381 + 0.5 * 0.01196, atol=3e-4)


class TestSplits:
    def test_the_test_split_is_the_first_background_whole_and_in_order(self, stb: StbTree) -> None:
        test = StbDataset(stb.root, None, "test", labels=True)
        assert list(test.names) == [f"B1Counting/SK_color/{n}" for n in range(5)]
        assert test.protocol == "stb_a"

    def test_a_background_is_held_out(self, stb: StbTree) -> None:
        val = StbDataset(stb.root, stb.detections, "val", val_background="B6")
        train = StbDataset(stb.root, stb.detections, "train", val_background="B6")
        assert {name.split("/")[0] for name in val.names} == {"B6Counting"}
        assert {name.split("/")[0] for name in train.names} == {"B2Random"}

    def test_windows_respect_cameras_gaps_and_missing_detections(
        self, train: StbDataset, stb: StbTree
    ) -> None:
        names = [[train.names[i] for i in run] for run in train.segments()]
        for run in names:
            assert len({name.rpartition("/")[0] for name in run}) == 1
            numbers = [int(name.rpartition("/")[2]) for name in run]
            assert numbers == list(range(numbers[0], numbers[0] + len(run)))
        assert GAP not in train.names
        assert UNDETECTED not in train.names
        data = HandDataModule(
            train=lambda: StbDataset(stb.root, stb.detections, cameras=ALL),
            window=Window(frames=3), batch_size=2, num_workers=0,
        )  # fmt: skip
        batch = next(iter(data.train_dataloader()))
        assert batch.image.shape[1] == 3

    def test_what_is_dropped_is_counted(self, train: StbDataset) -> None:
        assert train.reasons["no image file"] == 1
        assert train.reasons["no keypoint detected"] == 1
        assert len(train) == 30 - 2

    def test_frames_can_be_skipped(self, stb: StbTree) -> None:
        name = "B2Random/SK_color/0"
        dataset = StbDataset(stb.root, stb.detections, labels=True, skip=[name])
        assert name not in dataset.names
        assert dataset.reasons["in the skip list"] == 1
        with pytest.raises(ValueError, match="keeps every frame"):
            StbDataset(stb.root, None, "test", skip=[name])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"split": "evaluation"}, "split='evaluation'; use 'train'"),
            ({"split": "val"}, "give val_background, such as B6"),
            ({"val_background": "B1"}, "is the test split's"),
            ({"cameras": ["SK_depth"]}, r"\['SK_depth'\]: choose from BB_left"),
        ],
    )
    def test_unknown_choices_are_refused(
        self, stb: StbTree, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            StbDataset(stb.root, stb.detections, **options)


def _save(path: Path, **arrays: np.ndarray) -> None:
    savemat(path, arrays)


class TestFiles:
    @pytest.mark.parametrize(
        ("write", "message"),
        [
            (lambda path: path.write_bytes(b""), "cannot read"),
            (lambda path: path.write_bytes(path.read_bytes()[:300]), "cannot read"),
            (lambda path: path.write_bytes(b"\x00" * 5_000_000), "5000000 bytes, which is too"),
            (lambda path: _save(path, other=np.zeros((3, 21, 5))), r"handPara is missing"),
            (lambda path: _save(path, handPara=np.zeros((21, 3, 5))), r"double \(21, 3, 5\); exp"),
            (lambda path: _save(path, handPara=np.array([1, "a"], object)), r"handPara is cell"),
            (lambda path: _save(path, handPara=np.full((3, 21, 5), np.nan)), "frame 0 is not fin"),
            (lambda path: _save(path, handPara=np.zeros((3, 21, 5))), "z = .* mm in frame 0"),
            (lambda path: path.unlink(), "no such label file"),
        ],
    )
    def test_label_files_are_checked(
        self, copy: Path, write: Callable[[Path], Any], message: str
    ) -> None:
        write(copy / "labels" / "B2Random_SK.mat")
        with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
            StbDataset(copy, copy / "detections.json", labels=True)
        assert "B2Random_SK.mat" in str(error.value)

    def test_lengths_must_agree(self, copy: Path) -> None:
        path = copy / "labels" / "B1Counting_SK.mat"
        _save(path, handPara=loadmat(path)["handPara"][..., :3])
        with pytest.raises(ValueError, match=r"B1Counting_SK\.mat has 3 frames, .* 5 frames"):
            StbDataset(copy, None, "test", labels=True)

    def test_a_missing_test_image_is_named(self, copy: Path) -> None:
        image_path(copy, "B1Counting/SK_color/2").unlink()
        with pytest.raises(FileNotFoundError, match=r"B1Counting/SK_color_2\.png: no such image"):
            StbDataset(copy, None, "test")

    def test_a_truncated_image_is_named(self, copy: Path) -> None:
        path = image_path(copy, "B2Random/SK_color/0")
        path.write_bytes(path.read_bytes()[:400])
        with pytest.raises(ValueError, match=r"SK_color_0\.png"):
            StbDataset(copy, copy / "detections.json")[0]

    def test_an_image_of_another_size_is_refused(self, copy: Path) -> None:
        Image.new("RGB", (320, 240)).save(image_path(copy, "B2Random/SK_color/0"))
        with pytest.raises(ValueError, match=r"SK_color_0\.png is 320x240.*640x480"):
            StbDataset(copy, copy / "detections.json")[0]

    def test_another_folder_is_no_stb(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="root holds images/ and labels/"):
            StbDataset(tmp_path, None, "test")
        (tmp_path / "images").mkdir()
        with pytest.raises(FileNotFoundError, match="no sequence such as B1Counting"):
            StbDataset(tmp_path, None, "test")

    def test_detections_must_be_of_the_left_hand_and_of_its_names(
        self, stb: StbTree, tmp_path: Path
    ) -> None:
        text = stb.detections.read_text()
        (tmp_path / "right.json").write_text(text.replace('"left"', '"right"', 1))
        with pytest.raises(ValueError, match="holds right hands"):
            StbDataset(stb.root, tmp_path / "right.json")
        few = read_detections(stb.detections, "left").first(3)
        with pytest.raises(ValueError, match="no detection named 'B2Random/SK_color_0'"):
            StbDataset(stb.root, few)
