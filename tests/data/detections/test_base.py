"""Reading, cleaning and joining 2D detections."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.detections import openpose_person, write_openpose, write_published
from s2hand.data.detections.base import Detections
from s2hand.data.detections.files import SCHEMA, read_detections, write_detections


def some(count: int, names: list[str] | None = None, **kwargs) -> Detections:
    rng = np.random.default_rng(0)
    names = names if names is not None else [f"{i:06d}" for i in range(count)]
    keypoints = rng.uniform(5, 200, (count, 21, 2)).round(2)
    return Detections(tuple(names), keypoints, rng.uniform(0.1, 1, (count, 21)).round(3), **kwargs)


def hand(confidence: float, offset: float = 0.0) -> np.ndarray:
    """[21, 3] of one confidence."""
    xy = np.arange(42, dtype=float).reshape(21, 2) + 10 + offset
    return np.concatenate([xy, np.full((21, 1), confidence)], -1)


class TestPublished:
    def test_names_in_lists_of_one_and_undetected_rows(self, tmp_path: Path) -> None:
        xy = np.stack([hand(1)[:, :2], np.zeros((21, 2))])
        confidence = np.stack([np.full(21, 0.5), np.zeros(21)])
        path = write_published(tmp_path / "d.json", xy, confidence, ["b.jpg", "a.jpg"])
        found = read_detections(path)
        assert found.names == ("b.jpg", "a.jpg")
        np.testing.assert_array_equal(found.keypoints, xy)
        np.testing.assert_array_equal(found.confidence, confidence)

    def test_numbers_as_names_are_freihand_ids(self, tmp_path: Path) -> None:
        path = tmp_path / "d.json"
        path.write_text(json.dumps([[hand(1)[:, :2].tolist()], [[[1]] * 21], [[32561]]]))
        assert read_detections(path).names == ("00032561",)

    def test_unequal_lengths_are_told(self, tmp_path: Path) -> None:
        path = tmp_path / "d.json"
        path.write_text(json.dumps([[[[1, 2]] * 21] * 2, [[[1]] * 21] * 2, [["a"]]]))
        with pytest.raises(ValueError, match=r"d\.json: \[2, 2, 1\]"):
            read_detections(path)

    @pytest.mark.parametrize("confidences", [[[1]] * 20, [[1]]])
    def test_left_out_confidences_are_refused(self, tmp_path: Path, confidences: list) -> None:
        path = tmp_path / "d.json"
        path.write_text(json.dumps([[[[1, 2]] * 21], [confidences], [["img7"]]]))
        with pytest.raises(ValueError, match=r"'img7' has \d+ numbers, expected 21 x 1"):
            read_detections(path)

    def test_empty_confidences_mean_undetected(self, tmp_path: Path) -> None:
        path = tmp_path / "d.json"
        path.write_text(json.dumps([[[[1, 2]] * 21], [[]], [["img7"]]]))
        assert not read_detections(path).confidence.any()


class TestOpenPose:
    def test_takes_the_most_confident_wanted_hand(self, tmp_path: Path) -> None:
        people = [
            [
                openpose_person(right=hand(0.3), left=hand(0.9)),
                openpose_person(right=hand(0.6, offset=5), left=hand(0.2, offset=5)),
            ]
        ]
        folder = write_openpose(tmp_path, people, "clip")
        right, left = read_detections(folder, "right"), read_detections(folder, "left")
        assert right.names == ("clip_000000000000",)
        np.testing.assert_allclose(right.confidence, 0.6)
        np.testing.assert_allclose(right.keypoints[0, 0], [15, 16])
        np.testing.assert_allclose(left.confidence, 0.9)
        assert (right.side, left.side) == ("right", "left")

    def test_nobody_or_no_hand_is_undetected(self, tmp_path: Path) -> None:
        people = [[], [openpose_person(right=None, left=hand(1))], [openpose_person(hand(1), None)]]
        found = read_detections(write_openpose(tmp_path, people, "clip"))
        assert found.confidence.any(-1).tolist() == [False, False, True]

    def test_a_hand_of_nan_confidence_does_not_win(self, tmp_path: Path) -> None:
        people = [[openpose_person(hand(np.nan), None), openpose_person(hand(0.5), None)]]
        found = read_detections(write_openpose(tmp_path, people, "clip"))
        np.testing.assert_allclose(found.confidence, 0.5)

    def test_empty_folder_says_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="--write_json"):
            read_detections(tmp_path)

    def test_other_json_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a_keypoints.json").write_text("{}")
        with pytest.raises(ValueError, match="people"):
            read_detections(tmp_path)


class TestOwn:
    def test_round_trip(self, tmp_path: Path) -> None:
        found = some(3, image_size=(640, 480), side="left")
        found.confidence[1] = 0
        found = Detections(
            found.names, found.keypoints, found.confidence, found.image_size, found.side
        )
        write_detections(tmp_path / "own.json", found)
        again = read_detections(tmp_path / "own.json", "left")
        assert (again.names, again.image_size, again.side) == (found.names, (640, 480), "left")
        np.testing.assert_array_equal(again.keypoints, found.keypoints)
        np.testing.assert_array_equal(again.confidence, found.confidence)
        assert again.fingerprint == found.fingerprint
        content = json.loads((tmp_path / "own.json").read_text())
        assert content["schema"] == SCHEMA
        assert content["frames"][1]["keypoints"] == []

    def test_checksums_of_images_make_the_round_trip(self, tmp_path: Path) -> None:
        sums = np.arange(96, dtype=np.uint8).reshape(3, 32)
        sums[1] = 0
        found = replace(some(3), image_sha256=sums)
        write_detections(tmp_path / "own.json", found)
        frames = json.loads((tmp_path / "own.json").read_text())["frames"]
        assert frames[2]["sha256"] == bytes(range(64, 96)).hex()
        assert "sha256" not in frames[1]
        again = read_detections(tmp_path / "own.json")
        np.testing.assert_array_equal(again.image_sha256, sums)
        assert again.fingerprint == found.fingerprint != some(3).fingerprint
        turned = again.of_images(again.names[::-1])
        np.testing.assert_array_equal(turned.image_sha256, sums[::-1])

    @pytest.mark.parametrize("value", ["12", 7, "g" * 64])
    def test_what_is_no_checksum_is_refused(self, tmp_path: Path, value: object) -> None:
        frames = [{"name": "a", "keypoints": [], "sha256": value}]
        (tmp_path / "own.json").write_text(json.dumps({"schema": SCHEMA, "frames": frames}))
        with pytest.raises(ValueError, match=r"'a' has sha256 .*expected 64 hex digits"):
            read_detections(tmp_path / "own.json")

    def test_the_other_side_is_refused(self, tmp_path: Path) -> None:
        write_detections(tmp_path / "own.json", some(1, side="left"))
        with pytest.raises(ValueError, match="left hands; give side='left'"):
            read_detections(tmp_path / "own.json", "right")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"schema": "s2hand.detections/9"}', "s2hand.detections/9"),
            ('{"schema": "s2hand.detections/1"}', "'frames'"),
            ('{"schema": "s2hand.detections/1", "frames": [], "image_size": 3}', "image_size 3"),
            ("[1, 2]", "for OpenPose give the folder"),
            ("[[", "not valid JSON"),
        ],
    )
    def test_malformed_files_are_named(self, tmp_path: Path, text: str, message: str) -> None:
        path = tmp_path / "bad.json"
        path.write_text(text)
        with pytest.raises(ValueError, match=r"bad\.json") as caught:
            read_detections(path)
        assert message in str(caught.value)

    def test_uneven_keypoints_and_double_names_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "bad.json"
        frame = {"name": "a", "keypoints": [[1, 2, 1]] * 20 + [[1, 2]]}
        path.write_text(json.dumps({"schema": SCHEMA, "frames": [frame]}))
        with pytest.raises(ValueError, match="'a' has uneven"):
            read_detections(path)
        frame = {"name": "a", "keypoints": []}
        path.write_text(json.dumps({"schema": SCHEMA, "frames": [frame, frame]}))
        with pytest.raises(ValueError, match="'a' is named 2 times"):
            read_detections(path)


class TestCleaning:
    def test_confidences_are_clamped_and_counted(self) -> None:
        keypoints = np.full((1, 21, 2), 50.0)
        confidence = np.full((1, 21), 0.5)
        confidence[0, :4] = [1.7, -0.2, np.nan, np.inf]
        keypoints[0, 4, 1] = np.nan
        found = Detections(("a",), keypoints, confidence)
        np.testing.assert_array_equal(found.confidence[0, :6], [1, 0, 0, 0, 0, 0.5])
        assert found.repaired == {"keypoint not finite": 3, "confidence outside 0..1": 2}
        assert np.isfinite(found.keypoints).all()
        np.testing.assert_array_equal(found.keypoints[0, 4], [0, 0])

    def test_undetected_keypoints_are_zero(self) -> None:
        confidence = np.ones((1, 21))
        confidence[0, 3] = 0
        found = Detections(("a",), np.full((1, 21, 2), 70.0), confidence)
        np.testing.assert_array_equal(found.keypoints[0, 3], [0, 0])
        np.testing.assert_array_equal(found.keypoints[0, 4], [70, 70])

    def test_normalised_coordinates_are_refused(self) -> None:
        with pytest.raises(ValueError, match="look normalised"):
            Detections(("a",), np.full((1, 21, 2), 0.7), np.ones((1, 21)))

    def test_names_and_rows_must_be_equally_many(self) -> None:
        with pytest.raises(ValueError, match="2 rows of keypoints, 2 of confidences and 1 names"):
            Detections(("a",), np.full((2, 21, 2), 9.0), np.ones((2, 21)))

    def test_fingerprint_sees_every_value(self) -> None:
        keys = {some(2).fingerprint, some(2, names=["a", "b"]).fingerprint}
        moved = some(2)
        moved.keypoints[1, 20, 1] += 1e-6
        assert len(keys | {moved.fingerprint}) == 3


class TestJoining:
    @given(st.permutations(range(6)))
    def test_by_name_whatever_the_order(self, order: list[int]) -> None:
        found = some(6)
        names = [found.names[i] for i in order]
        joined = found.of_images(names)
        assert joined.names == tuple(names)
        np.testing.assert_array_equal(joined.keypoints, found.keypoints[list(order)])

    @pytest.mark.parametrize(
        ("written", "wanted"),
        [
            ("training/rgb/00000012.jpg", "00000012"),
            ("00000012", "00000012.png"),
            ("ABF10/0001.png", "ABF10/0001"),
            ("C:\\data\\x.JPG", "x"),
        ],
    )
    def test_folders_and_suffixes_do_not_count(self, written: str, wanted: str) -> None:
        assert len(some(1, names=[written]).of_images([wanted])) == 1

    def test_the_first_missing_name_is_named(self) -> None:
        with pytest.raises(ValueError, match="no detection named '000002'"):
            some(2).of_images(["000000", "000002", "000003"])

    def test_an_ambiguous_name_is_refused(self) -> None:
        found = some(2, names=["a/1.jpg", "b/1.jpg"])
        assert len(found.of_images(["a/1", "b/1"])) == 2
        with pytest.raises(ValueError, match=r"'1' matches several detections: a/1\.jpg, b/1\.jpg"):
            found.of_images(["1"])

    def test_video_frames_by_number(self) -> None:
        found = some(3, names=["take2_000000000001", "take2_000000000000", "take2_000000000002"])
        joined = found.of_video()
        assert joined.names == ("000000", "000001", "000002")
        np.testing.assert_array_equal(joined.keypoints, found.keypoints[[1, 0, 2]])

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (["0", "1", "3"], "no detection of video frame 000002"),
            (["1", "2"], "no detection of video frame 000000"),
            (["f1", "f01"], "'f1' and 'f01' are the same frame"),
            (["first"], "'first' has no frame number"),
        ],
    )
    def test_video_frames_must_be_complete(self, names: list[str], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            some(len(names), names=names).of_video()


class TestImageSize:
    def test_keypoints_follow_a_resized_image(self) -> None:
        keypoints = np.tile([[-0.5, -0.5], [99.5, 49.5], [49.5, 24.5]], (1, 7, 1))
        found = Detections(("a",), keypoints, np.ones((1, 21)), image_size=(100, 50))
        scaled = found.on_frames(np.array([[200, 100]]))
        np.testing.assert_allclose(
            scaled.keypoints[0, :3], [[-0.5, -0.5], [199.5, 99.5], [99.5, 49.5]]
        )

    def test_another_shape_is_refused(self) -> None:
        found = some(1, image_size=(100, 50))
        with pytest.raises(
            ValueError, match=r"\(100, 50\) pixels do not fit '000000' of \(50, 100\)"
        ):
            found.on_frames(np.array([[50, 100]]))

    def test_without_a_size_pixels_stay(self) -> None:
        found = some(1)
        assert found.on_frames(np.array([[50, 100]])) is found


def test_a_missing_file_says_what_detections_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nope\.json: no such.*s2hand-detect"):
        read_detections(tmp_path / "nope.json")
