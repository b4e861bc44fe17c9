"""RHD's format: two hands in a picture, hidden joints, None, and what is refused."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fixtures.detections import openpose_person
from fixtures.mano_pickles import python2_pickle
from fixtures.rhd import NONE, ORDER, UNDETECTED, VISIBLE, K, RhdTree, annotation
from s2hand.data.detections.base import Detections
from s2hand.data.detections.files import read_detections, write_detections
from s2hand.data.detections.tracks import TrackKeypoints, write_tracks
from s2hand.data.recorded.rhd import RhdDataset, read_annotations
from s2hand.geometry.camera import project

FLIP = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def train(rhd: RhdTree) -> RhdDataset:
    return RhdDataset(rhd.root, rhd.detections, labels=True)


@pytest.fixture
def copy(rhd: RhdTree, tmp_path: Path) -> Path:
    """A tree to spoil."""
    return Path(shutil.copytree(rhd.root, tmp_path / "copy"))


class TestSamples:
    def test_labels_cameras_and_keypoints_agree(self, train: RhdDataset, rhd: RhdTree) -> None:
        for index, (name, sample) in enumerate(zip(train.names, train, strict=True)):
            left = name.endswith("left")
            assert train.is_left(index) is left
            assert sample.labels is not None
            joints = rhd.hands[name].joints * (FLIP if left else 1)
            np.testing.assert_allclose(sample.labels.joints[0], joints, atol=1e-6)
            assert sample.labels.vertices.isnan().all()
            projected = project(sample.labels.joints, sample.camera.intrinsics)
            torch.testing.assert_close(projected, sample.keypoints, atol=1e-3, rtol=0)

    def test_pixels_are_flipped_with_left_hands_only(self, rhd: RhdTree) -> None:
        for name, number in (("00000/right", 0), ("00001/left", 1)):
            test = RhdDataset(rhd.root, rhd.detections, "evaluation", labels=True)
            sample = test[test.names.index(name)]
            left = name.endswith("left")
            vertices = rhd.hands[name].vertices * (FLIP if left else 1)
            points = project(torch.from_numpy(vertices)[None].float(), sample.camera.intrinsics)
            u, v = points[0].round().long().unbind(-1)
            inside = (u >= 0) & (u < 224) & (v >= 0) & (v < 224)
            seen = sample.image[0, :, v[inside], u[inside]].T
            background = torch.tensor([70, 110, 150]) / 255
            assert ((seen - background).abs().amax(-1) > 0.06).float().mean() > 0.95, number

    def test_each_visible_hand_is_a_sample(self, train: RhdDataset) -> None:
        wanted = [
            f"{number:05d}/{side}"
            for number, counts in VISIBLE.items()
            for side, count in zip(("left", "right"), counts, strict=True)
            if number != NONE and count >= 11
        ]
        assert [*train.names] == [name for name in wanted if name != UNDETECTED]
        assert train.reasons["None in the annotation"] == 2
        assert train.reasons["fewer than 11 joints visible"] == 4
        assert train.reasons["no keypoint detected"] == 1

    def test_the_dominant_hand_shows_more_joints_and_of_equals_is_larger(
        self, rhd: RhdTree
    ) -> None:
        test = RhdDataset(rhd.root, None, "evaluation", hands="dominant", min_visible=1)
        chosen = dict(name.split("/") for name in test.names)
        assert {n: chosen[f"{n:05d}"] for n in (0, 1, 2, 3, 5)} == {
            0: "right", 1: "left", 2: "left", 3: "right", 5: "right",
        }  # fmt: skip
        sizes = {s: np.ptp(rhd.hands[f"00004/{s}"].uv, axis=0).max() for s in ("left", "right")}
        assert chosen["00004"] == max(sizes, key=lambda side: sizes[side])
        assert len(test) == len(VISIBLE)

    def test_labels_say_which_joints_are_visible(self, train: RhdDataset) -> None:
        for name, sample in zip(train.names, train, strict=True):
            number, side = name.split("/")
            count = VISIBLE[int(number)][side == "right"]
            assert sample.labels is not None
            assert sample.labels.visible is not None
            # The file has each finger from its tip; the first `count` of its rows are visible.
            shown = sorted(ORDER[:count])
            assert sample.labels.visible[0].nonzero()[:, 0].tolist() == shown

    def test_labels_are_served_only_when_asked_for(self, rhd: RhdTree) -> None:
        assert all(s.labels is None for s in RhdDataset(rhd.root, rhd.detections))

    def test_stills_do_not_follow_each_other(self, train: RhdDataset) -> None:
        assert train.segments() == [[i] for i in range(len(train))]
        assert train.fps is None

    def test_evaluation_keeps_hands_without_detection(self, rhd: RhdTree) -> None:
        test = RhdDataset(rhd.root, rhd.detections, "evaluation")
        assert UNDETECTED in test.names
        assert not test[test.names.index(UNDETECTED)].confidence.any()


class TestDetections:
    def test_a_file_without_sides_must_name_samples(self, rhd: RhdTree, tmp_path: Path) -> None:
        found = read_detections(rhd.detections, "left")
        path = tmp_path / "pictures.json"
        unsided = Detections(found.names, found.keypoints, found.confidence)
        write_detections(path, unsided)
        with pytest.raises(ValueError, match="no detection named '00000/right'"):
            RhdDataset(rhd.root, path)
        names = tuple(rhd.hands)
        uv = np.array([hand.uv for hand in rhd.hands.values()])
        write_detections(path, Detections(names, uv, np.full((len(names), 21), 0.9)))
        dataset = RhdDataset(rhd.root, path, labels=True)
        assert UNDETECTED in dataset.names
        for sample in dataset:
            assert sample.labels is not None
            projected = project(sample.labels.joints, sample.camera.intrinsics)
            torch.testing.assert_close(projected, sample.keypoints, atol=1e-3, rtol=0)

    def test_tracks_know_sides(self, rhd: RhdTree, train: RhdDataset, tmp_path: Path) -> None:
        """As s2hand-detect writes them."""
        tracks = []
        for side in ("right", "left"):
            found = read_detections(rhd.detections, side)
            seen = [i for i, row in enumerate(found.confidence) if row.any()]
            tracks.append(
                TrackKeypoints(side, seen, found.keypoints[seen], found.confidence[seen])  # type: ignore[arg-type]
            )
        path = tmp_path / "tracks.json"
        write_tracks(path, found.names, tracks, (320, 320), "x", "y")
        dataset = RhdDataset(rhd.root, path)
        assert dataset.names == train.names
        for sample, expected in zip(dataset, train, strict=True):
            torch.testing.assert_close(sample.keypoints, expected.keypoints, atol=0.02, rtol=0)

    def test_a_picture_without_an_entry_is_named(self, copy: Path) -> None:
        (copy / "openpose" / "00002_keypoints.json").unlink()
        with pytest.raises(ValueError, match="no detection named '00002'"):
            RhdDataset(copy, copy / "openpose")

    def test_a_hand_off_the_picture_is_counted(self, copy: Path) -> None:
        far = openpose_person(np.full((21, 3), 2000.0) + np.arange(63).reshape(21, 3), None)
        path = copy / "openpose" / "00000_keypoints.json"
        path.write_text(json.dumps({"people": [far]}))
        dataset = RhdDataset(copy, copy / "openpose")
        assert dataset.reasons["detection off the image"] == 1


def _annotations(count: int = 1, **changes: Any) -> dict[Any, Any]:
    generator = np.random.default_rng(0)
    xyz = generator.uniform(-0.1, 0.1, (42, 3)) + np.array([0, 0, 0.6])
    entry = {
        "xyz": xyz,
        "uv_vis": np.concatenate([480 * xyz[:, :2] / xyz[:, 2:] + 160, np.ones((42, 1))], 1),
        "K": K,
    } | changes
    return {i: {k: v for k, v in entry.items() if v is not ...} for i in range(count)}


class TestFiles:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ([], r"anno_training\.pickle is not a dict of pictures"),
            ({"a": {}}, "keys are not picture numbers"),
            ({0: None}, "picture 00000: a NoneType where"),
            (_annotations(K=...), "picture 00000: no 'K' in it"),
            (_annotations(xyz=np.zeros((21, 3))), r"xyz has shape \(21, 3\), expected \(42, 3\)"),
            (_annotations(K=np.full((3, 3), np.nan)), "K is not finite"),
            (_annotations(uv_vis=[1, 2]), "uv_vis is a list"),
            (_annotations(xyz=np.full((42, 3), -1.0)), "OpenGL axes"),
            (
                _annotations(K=K * [[2], [2], [1]]),
                "no usable .*3D more than 10 px from its 2D: 2",
            ),
            (_annotations(K=None), r"no usable hand \(None in the annotation: 2\)"),
        ],
    )
    def test_annotations_are_checked(self, copy: Path, content: Any, message: str) -> None:
        path = copy / "training" / "anno_training.pickle"
        path.write_bytes(python2_pickle(content))
        with pytest.raises(ValueError, match=message):
            RhdDataset(copy, copy / "openpose", labels=True)

    def test_none_ends_an_evaluation(self, copy: Path) -> None:
        path = copy / "evaluation" / "anno_evaluation.pickle"
        path.write_bytes(python2_pickle(_annotations(2) | {2: _annotations(xyz=None)[0]}))
        with pytest.raises(ValueError, match=r"anno_evaluation\.pickle: None in picture 00002"):
            RhdDataset(copy, None, "evaluation")

    def test_3d_that_does_not_lie_on_its_2d_is_damaged(self, copy: Path, rhd: RhdTree) -> None:
        content = {n: annotation(rhd.hands, n) for n in range(6)}
        content[2]["xyz"][25] += [0.02, 0, 0]  # a joint of the right hand, 16 px
        content[5]["xyz"][25] += [0.02, 0, 0]  # of one that is no sample
        (copy / "training" / "anno_training.pickle").write_bytes(python2_pickle(content))
        train = RhdDataset(copy, copy / "openpose")
        assert train.reasons["3D more than 10 px from its 2D"] == 1
        assert "00002/right" not in train.names
        assert "00002/left" in train.names
        (copy / "evaluation" / "anno_evaluation.pickle").write_bytes(python2_pickle(content))
        with pytest.raises(ValueError, match=r"picture 00002 projects 1\d px from its uv_vis"):
            RhdDataset(copy, None, "evaluation")

    def test_a_pickle_that_names_code_is_refused(self, copy: Path) -> None:
        class Evil:
            def __reduce__(self) -> Any:
                return Path.touch, (copy / "touched",)

        path = copy / "training" / "anno_training.pickle"
        path.write_bytes(pickle.dumps({0: Evil()}))
        with pytest.raises(ValueError, match=r"anno_training\.pickle: .*refused, it names"):
            RhdDataset(copy, copy / "openpose")
        assert not (copy / "touched").exists()

    @pytest.mark.parametrize(
        "damage", [lambda data: b"", lambda data: data[:200], lambda data: data[:-40] + b"x" * 40]
    )
    def test_damaged_annotations_are_named(
        self, copy: Path, damage: Callable[[bytes], bytes]
    ) -> None:
        path = copy / "training" / "anno_training.pickle"
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(ValueError, match=r"anno_training\.pickle"):
            RhdDataset(copy, copy / "openpose")

    def test_annotations_are_read_once(
        self, rhd: RhdTree, train: RhdDataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "s2hand.data.recorded.rhd.read_pickle", lambda *_: pytest.fail("read again")
        )
        rows = read_annotations(rhd.root / "training" / "anno_training.pickle")
        assert rows["picture"].tolist() == list(range(6))

    def test_missing_files_are_named(self, copy: Path, tmp_path: Path) -> None:
        (copy / "training" / "color" / "00002.png").unlink()
        with pytest.raises(FileNotFoundError, match=r"color/00002\.png: no such picture"):
            RhdDataset(copy, copy / "openpose")
        with pytest.raises(FileNotFoundError, match=r"anno_training\.pickle: no such file"):
            RhdDataset(tmp_path, copy / "openpose")

    def test_bad_images_are_named(self, copy: Path) -> None:
        path = copy / "training" / "color" / "00000.png"
        Image.new("RGB", (640, 480)).save(path)
        with pytest.raises(ValueError, match=r"00000\.png is 640x480.*320x320"):
            RhdDataset(copy, copy / "openpose")[0]
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(ValueError, match=r"00000\.png"):
            RhdDataset(copy, copy / "openpose")[0]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"split": "test"}, "split='test'.*'evaluation'"),
            ({"hands": "both"}, "hands='both'"),
            ({"min_visible": 0}, "min_visible=0"),
            ({"split": "evaluation", "skip": ["00000/left"]}, "keeps every frame"),
        ],
    )
    def test_unknown_choices_are_refused(
        self, rhd: RhdTree, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            RhdDataset(rhd.root, rhd.detections, **options)
