"""Boxes of crops, their smoothing, and that pixels and keypoints move together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fixtures.video import dot_centre, dot_frame
from s2hand.data.crops import (
    MIN_SIDE_PX,
    crop_image,
    detection_boxes,
    fill_boxes,
    place_boxes,
    runs_of,
    smooth_boxes,
)
from s2hand.geometry.camera import crop_affine, transform_points


def spread(*points: tuple[float, float]) -> np.ndarray:
    """[1, 21, 2]: the points, the rest at the first."""
    return np.array([[*points, *[points[0]] * (21 - len(points))]], dtype=float)


def centres(boxes: np.ndarray) -> np.ndarray:
    return boxes[:, :2] + boxes[:, 2:] / 2


class TestBoxes:
    def test_square_around_the_extent(self) -> None:
        boxes = detection_boxes(spread((100, 50), (200, 90)), np.ones((1, 21)), margin=1.5)
        # Extent 100 x 40, so side 150 around (150, 70); edges are half a pixel before centres.
        np.testing.assert_allclose(boxes, [[150.5 - 75, 70.5 - 75, 150]])

    @given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
    def test_undetected_keypoints_do_not_count(self, x: float, y: float) -> None:
        confidence = np.ones((1, 21))
        confidence[0, 2] = 0
        with_one = detection_boxes(spread((100, 50), (200, 90), (x, y)), confidence, 1.7)
        without = detection_boxes(spread((100, 50), (200, 90)), np.ones((1, 21)), 1.7)
        np.testing.assert_allclose(with_one[0, 2], without[0, 2])
        np.testing.assert_allclose(centres(with_one), centres(without))

    def test_doubtful_keypoints_count_partly(self) -> None:
        keypoints, confidence = spread((100, 50), (200, 50)), np.ones((1, 21))
        confidence[0, 1] = 0.25
        # Weight 1/2 against 20 full ones at x = 100: mean 100 + 50 / 20.5, the doubtful one at
        # half of the distance from there to 200.
        mean = 100 + 50 / 20.5
        expected = 2 * ((mean + 200) / 2 - 100)
        boxes = detection_boxes(keypoints, confidence, margin=2)
        np.testing.assert_allclose(boxes[0, 2], expected)

    def test_trusted_keypoints_count_fully(self) -> None:
        keypoints = spread((100, 50), (200, 90))
        half = detection_boxes(keypoints, np.full((1, 21), 0.5), 1.7)
        np.testing.assert_allclose(half, detection_boxes(keypoints, np.ones((1, 21)), 1.7))

    def test_nothing_detected_has_no_box(self) -> None:
        boxes = detection_boxes(np.zeros((2, 21, 2)), np.array([[0.0] * 21, [0.5] * 21]), 1.7)
        assert np.isnan(boxes[0]).all()
        np.testing.assert_allclose(boxes[1, 2], MIN_SIDE_PX)

    def test_a_margin_below_one_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"margin=0\.5"):
            detection_boxes(np.zeros((1, 21, 2)), np.ones((1, 21)), 0.5)


class TestSmoothing:
    rng = np.random.default_rng(0)
    jumpy = np.stack([*rng.uniform(0, 100, (2, 40)), rng.uniform(50, 150, 40)], -1)
    weights = rng.uniform(1, 21, 40)
    whole = runs_of(np.arange(40))

    def test_a_still_hand_keeps_its_box(self) -> None:
        still = np.tile([[10.0, 20.0, 80.0]], (40, 1))
        np.testing.assert_allclose(smooth_boxes(still, self.weights, self.whole, 3), still)

    def test_zero_changes_nothing(self) -> None:
        np.testing.assert_array_equal(
            smooth_boxes(self.jumpy, self.weights, self.whole, 0), self.jumpy
        )

    def test_centres_jump_less(self) -> None:
        smooth = smooth_boxes(self.jumpy, self.weights, self.whole, 3)
        before, after = (np.abs(np.diff(centres(b), axis=0)).mean() for b in (self.jumpy, smooth))
        assert after < 0.2 * before

    def test_no_lag(self) -> None:
        forward = smooth_boxes(self.jumpy, self.weights, self.whole, 3)
        backward = smooth_boxes(self.jumpy[::-1], self.weights[::-1], self.whole, 3)
        np.testing.assert_allclose(forward, backward[::-1])

    def test_a_steady_move_is_followed(self) -> None:
        boxes = np.stack([3.0 * np.arange(40), np.zeros(40), np.full(40, 60.0)], -1)
        smooth = smooth_boxes(boxes, np.ones(40), self.whole, 2)
        np.testing.assert_allclose(smooth[6:-6], boxes[6:-6], atol=1e-9)

    def test_no_crop_is_smaller_than_its_hand_needs(self) -> None:
        smooth = smooth_boxes(self.jumpy, self.weights, self.whole, 3)
        assert (smooth[:, 2] >= self.jumpy[:, 2] - 1e-9).all()

    def test_trusted_frames_weigh_more(self) -> None:
        boxes = np.array([[0.0, 0, 50], [40.0, 0, 50]])
        smooth = smooth_boxes(boxes, np.array([1.0, 9.0]), runs_of(np.arange(2)), 2)
        near = np.exp(-0.5 * 0.25)
        np.testing.assert_allclose(smooth[0, 0], 9 * near * 40 / (1 + 9 * near))

    def test_runs_are_smoothed_apart(self) -> None:
        boxes = np.array([[0.0, 0, 50]] * 5 + [[900.0, 0, 90]] * 5)
        runs = runs_of(np.array([0, 1, 2, 3, 4])), runs_of(np.array([5, 6, 7, 8, 9]))
        smooth = smooth_boxes(boxes, np.ones(10), runs[0] + runs[1], 3)
        np.testing.assert_allclose(smooth, boxes)

    def test_a_negative_sigma_is_refused(self) -> None:
        with pytest.raises(ValueError, match="smooth_frames=-1"):
            smooth_boxes(self.jumpy, self.weights, self.whole, -1)


class TestPlacing:
    sizes = np.tile([[320, 240]], (4, 1))

    def test_frames_without_a_box_are_filled(self) -> None:
        box = [10.0, 20.0, 50.0]
        boxes = np.array([[np.nan] * 3, box, [np.nan] * 3, [np.nan] * 3])
        full = [0.0, -40.0, 320.0]
        np.testing.assert_array_equal(fill_boxes(boxes, self.sizes, True), [full, box, box, box])
        np.testing.assert_array_equal(fill_boxes(boxes, self.sizes, False), [full, box, full, full])

    @pytest.mark.parametrize("centre", [(5000.0, 100.0), (-300.0, 100.0), (100.0, 2000.0)])
    def test_detections_off_the_image_give_no_box(self, centre: tuple[float, float]) -> None:
        keypoints = np.concatenate([spread((100, 100), (150, 150)), spread(centre)])
        boxes = place_boxes(keypoints, np.ones((2, 21)), self.sizes[:2], 1.7)
        assert np.isnan(boxes[:, 0]).tolist() == [False, True]
        kept = place_boxes(
            keypoints, np.ones((2, 21)), self.sizes[:2], 1.7, sequence=True, keep_all=True
        )
        np.testing.assert_array_equal(kept[1], kept[0])

    def test_an_absurd_extent_gives_no_box(self) -> None:
        keypoints = spread((100, 100), (1e6, 100))
        assert np.isnan(place_boxes(keypoints, np.ones((1, 21)), self.sizes[:1], 1.7)).all()

    def test_runs(self) -> None:
        runs = runs_of(np.array([0, 1, 4, 7, 8, 9]))
        assert [run.tolist() for run in runs] == [[0, 1], [4], [7, 8, 9]]
        assert runs_of(np.array([], dtype=int)) == []


class TestPixels:
    @settings(deadline=None, max_examples=40)
    @given(
        st.floats(-60, 40),
        st.floats(-60, 40),
        st.floats(150, 400),
        st.sampled_from([64, 128, 224, 500]),
    )
    def test_a_dot_follows_the_map_of_the_crop(
        self, left: float, top: float, side: float, size: int
    ) -> None:
        dot = (73.3, 61.8)
        image = Image.fromarray(dot_frame(160, 120, dot))
        crop = crop_image(image, np.array([left, top, side]), size)
        assert crop.shape == (size, size, 3)
        expected = transform_points(
            crop_affine(left, top, side, size), torch.tensor([dot]).double()
        )
        np.testing.assert_allclose(dot_centre(crop), expected[0], atol=0.12 * max(1, size / side))

    def test_outside_is_black_with_a_soft_edge_of_a_pixel(self) -> None:
        image = Image.new("RGB", (100, 80), (200, 200, 200))
        crop = crop_image(image, np.array([-50.0, -50.0, 200.0]), 100)
        # The image covers 25..75 x 25..65 of the crop.
        assert crop[:24].max() == 0
        assert crop[:, 76:].max() == 0
        assert crop[66:].max() == 0
        assert crop[26:64, 26:74].min() == 200

    def test_the_filter_reads_pixels_around_the_box(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 255, (120, 120, 3)).astype(np.uint8)
        image = Image.fromarray(pixels)
        whole = crop_image(image, np.array([0.0, 0.0, 120.0]), 60)
        part = crop_image(image, np.array([20.0, 20.0, 80.0]), 40)
        np.testing.assert_array_equal(part, whole[10:50, 10:50])

    def test_the_whole_image_is_unchanged(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
        crop = crop_image(Image.fromarray(pixels), np.array([0.0, 0.0, 64.0]), 64)
        np.testing.assert_array_equal(crop, pixels)

    def test_a_box_off_the_image_is_refused(self) -> None:
        with pytest.raises(ValueError, match="misses its image"):
            crop_image(Image.new("RGB", (100, 80)), np.array([200.0, 0.0, 50.0]), 64)


def test_doubtful_keypoints_alone_still_give_the_size_of_the_hand() -> None:
    """If all keypoints are doubtful the box is as if none were, else confident ones count."""
    uv = np.random.default_rng(0).uniform(20, 200, (1, 21, 2))
    uv[0, :5] = uv[0, :5] / 10 + 100
    sure = detection_boxes(uv, np.full((1, 21), 0.9), 1.7)
    np.testing.assert_allclose(detection_boxes(uv, np.full((1, 21), 0.04), 1.7), sure)
    mixed = np.full((1, 21), 0.04)
    mixed[0, :5] = 0.9
    assert detection_boxes(uv, mixed, 1.7)[0, 2] < 0.3 * sure[0, 2]
