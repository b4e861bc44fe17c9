"""A joint found at the same place in every view is trusted, one that varies is not."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fixtures.video import dot_centre, dot_frame
from s2hand.detect.confidence import (
    PICTURE_CHANGES,
    SPREAD,
    PictureChange,
    agreement,
    apply,
    inside,
    nearest,
    view_matrix,
    warp,
    with_confidence,
)
from s2hand.detect.hands import FoundHand, hand_size

HAND = np.random.default_rng(1).uniform((80, 60), (280, 240), (21, 2))
PICTURE = np.zeros((320, 400, 3), np.uint8)


class Detector:
    """Finds the hand of a view where it is, with given errors in pixels of the picture."""

    def __init__(self, error: Callable[[int], np.ndarray], missed: Collection[int] = ()) -> None:
        self.error, self.missed, self.calls = error, missed, 0

    def __call__(self, view: np.ndarray) -> list[FoundHand]:
        number, self.calls = self.calls, self.calls + 1
        if number in self.missed:
            return []
        matrix = view_matrix(HAND, PICTURE_CHANGES[number])
        return [FoundHand(apply(matrix, HAND + self.error(number)), "right", 0.9)]


def test_what_is_found_at_the_same_place_has_confidence_one() -> None:
    hand = with_confidence(PICTURE, FoundHand(HAND, "right", 0.9), Detector(lambda _: np.zeros(2)))
    assert_allclose(hand.confidence, 1, atol=1e-9)
    assert_allclose(hand.keypoints, HAND, atol=1e-9)
    assert (hand.side, hand.score) == ("right", 0.9)


def test_the_formula_by_hand() -> None:
    """Deviations of 0, 0, 0, 4, 4, 4 pixels from the median: the median deviation is known."""
    again = np.repeat(HAND[None], 5, 0)
    again[:3, 7, 0] += 4.0  # half of the six detections are 4 pixels off: the median is between
    size = float(hand_size(np.median(np.concatenate([HAND[None], again]), 0)))
    keypoints, confidence = agreement(HAND, again)
    assert_allclose(keypoints[7], HAND[7] + (2, 0))
    assert confidence[7] == pytest.approx(np.exp(-0.5 * (2 / size / SPREAD) ** 2))
    assert_allclose(np.delete(confidence, 7), 1)


def test_a_joint_that_varies_loses_confidence_and_the_others_do_not() -> None:
    rng = np.random.default_rng(0)

    def error(number: int) -> np.ndarray:
        errors = np.zeros((21, 2))
        errors[5] = rng.normal(0, 25, 2)
        return errors

    hand = with_confidence(PICTURE, FoundHand(HAND, "right", 0.9), Detector(error))
    assert hand.confidence[5] < 0.7
    assert np.delete(hand.confidence, 5).min() > 0.99


def test_a_view_that_does_not_find_the_hand_counts_against_it() -> None:
    missed = Detector(lambda _: np.zeros(2), {1, 3})
    hand = with_confidence(PICTURE, FoundHand(HAND, "right", 0.9), missed)
    assert_allclose(hand.confidence, 4 / 6)  # of five views and the first detection
    none = Detector(lambda _: np.zeros(2), set(range(5)))
    assert_allclose(with_confidence(PICTURE, FoundHand(HAND, "right", 0.9), none).confidence, 1 / 6)


def test_a_hand_elsewhere_is_not_the_expected_one() -> None:
    far = FoundHand(HAND + 2 * hand_size(HAND), "right", 0.9)
    near = FoundHand(HAND + 1, "right", 0.6)
    assert nearest([far], HAND) is None
    assert nearest([far, near], HAND) is near.keypoints


def test_joints_on_the_border_have_no_confidence() -> None:
    points = HAND.copy()
    points[:4] = (0.5, 100), (399, 100), (100, 318.5), (-20, 50)
    assert inside(points, PICTURE).tolist() == [False] * 4 + [True] * 17


@pytest.mark.parametrize(
    "view", [*PICTURE_CHANGES, PictureChange(0, 1, False), PictureChange(90, 0.5, True)]
)
def test_a_view_is_the_picture_warped_by_its_matrix(view: PictureChange) -> None:
    picture = dot_frame(400, 320, (150, 130))
    matrix = view_matrix(HAND, view)
    assert_allclose(
        dot_centre(warp(picture, matrix)), apply(matrix, np.array([[150.0, 130.0]]))[0], atol=0.35
    )


def test_a_large_picture_is_not_undersampled() -> None:
    """Stripes finer than a view's pixels are averaged, and positions stay."""
    picture = np.repeat(np.repeat(dot_frame(400, 320, (150, 130)), 8, 0), 8, 1)
    striped = picture.copy()
    striped[:, ::2] = 0
    matrix = view_matrix(8 * HAND + 3.5, PICTURE_CHANGES[0])
    expected = apply(matrix, np.array([[8 * 150 + 3.5, 8 * 130 + 3.5]]))[0]
    assert_allclose(dot_centre(warp(striped, matrix)), expected, atol=0.25)
    grey = np.zeros_like(picture)
    grey[:, ::2] = 255
    assert warp(grey, matrix)[80:170, 80:170].std() < 3


def test_the_view_holds_the_whole_hand() -> None:
    for view in PICTURE_CHANGES:
        points = apply(view_matrix(HAND, view), HAND)
        assert points.min() > 0
        assert points.max() < 255


def test_a_joint_outside_the_picture_is_not_trusted() -> None:
    cut = PICTURE[:150]
    hand = with_confidence(cut, FoundHand(HAND, "right", 0.9), Detector(lambda _: np.zeros(2)))
    assert 0 < inside(HAND, cut).sum() < 21
    assert_allclose(hand.confidence, inside(HAND, cut), atol=1e-9)


@pytest.mark.parametrize("view", PICTURE_CHANGES)
def test_a_view_is_rotated_and_mirrored(view: PictureChange) -> None:
    matrix = view_matrix(HAND, view)[:2, :2]
    assert (np.linalg.det(matrix) < 0) == view.flip
    upright = np.diag([-1.0, 1.0]) @ matrix if view.flip else matrix
    assert np.rad2deg(np.arctan2(upright[1, 0], upright[0, 0])) == pytest.approx(view.angle_deg)
