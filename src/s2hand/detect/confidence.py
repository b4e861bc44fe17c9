"""How far each keypoint can be trusted: whether the detector finds it again on a changed picture.

MediaPipe says of a hand how sure it is, but nothing of single joints. A joint that is seen is found
at the same place when the picture is turned, scaled or mirrored; one that is guessed wanders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from s2hand.detect.hands import FoundHand, hand_size

SPREAD = 0.02
"""Deviation, as a share of the hand's size, at which the confidence has fallen to exp(-1/2)."""
_CROP_PX = 256  # of a view; the palm detector looks at 192, the landmark network at 224
_MARGIN = 2.2  # side of a view, as a multiple of the hand's extent
_BORDER_PX = 1.0

Find = Callable[[UInt8[np.ndarray, "h w 3"]], Sequence[FoundHand]]
"""A detector for single pictures."""


@dataclass(frozen=True)
class View:
    """A change of the picture around a hand."""

    angle_deg: float
    scale: float
    """Of the hand in the view; 1 leaves the margin as it is."""
    flip: bool


VIEWS = (
    View(-22, 1.0, False),
    View(18, 0.85, False),
    View(0, 1.15, True),
    View(-12, 0.9, True),
    View(25, 1.1, True),
)


def confident(picture: UInt8[np.ndarray, "h w 3"], hand: FoundHand, find: Find) -> FoundHand:
    """The hand with its keypoints made steadier, and the confidence of each (:func:`agreement`).

    0 for a joint on the border of the picture or outside, where detectors clamp their guesses.
    """
    again = found_again(picture, hand.keypoints, find)
    keypoints, confidence = agreement(hand.keypoints, again)
    confidence = np.where(inside(keypoints, picture), confidence, 0.0)
    return replace(hand, keypoints=keypoints, confidence=confidence)


def agreement(
    keypoints: Float[np.ndarray, "21 2"], again: Float[np.ndarray, "views 21 2"]
) -> tuple[Float[np.ndarray, "21 2"], Float[np.ndarray, " 21"]]:
    """Medians of a hand as found and as found again, and the confidences 0..1 (our definition).

    With d the distances of a joint's points to their median and n of v views that found the hand,
    conf = (n + 1) / (v + 1) exp(-1/2 (median(d) / size / 0.02)^2): the first look counts as one of
    the looks, so a hand that no view shows again is doubted, not dropped.

    Args:
        keypoints: pixels.
        again: from other views; NaN where one did not find the hand.
    """
    seen = again[np.isfinite(again).all((1, 2))]
    points = np.concatenate([keypoints[None], seen])
    median = np.median(points, 0)
    distances = np.linalg.norm(points - median, axis=-1)
    deviation = np.median(distances, 0) / max(float(hand_size(median)), 1e-6)
    share = len(points) / (len(again) + 1)
    return median, share * np.exp(-0.5 * (deviation / SPREAD) ** 2)


def found_again(
    picture: UInt8[np.ndarray, "h w 3"],
    keypoints: Float[np.ndarray, "21 2"],
    find: Find,
    views: Sequence[View] = VIEWS,
) -> Float[np.ndarray, "views 21 2"]:
    """The hand's keypoints as each view shows them, in pixels of the picture; NaN of no hand."""
    again = np.full((len(views), *keypoints.shape), np.nan)
    for row, view in zip(again, views, strict=True):
        matrix = to_view(keypoints, view)
        seen = nearest(find(look(picture, matrix)), apply(matrix, keypoints))
        if seen is not None:
            row[:] = apply(np.linalg.inv(matrix), seen)
    return again


def inside(
    keypoints: Float[np.ndarray, "21 2"], picture: UInt8[np.ndarray, "h w 3"]
) -> Bool[np.ndarray, " 21"]:
    """Which keypoints lie in the picture, more than a pixel from its border."""
    last = np.array(picture.shape[1::-1]) - 1 - _BORDER_PX
    within: np.ndarray = np.all((keypoints > _BORDER_PX) & (keypoints < last), axis=-1)
    return within


def to_view(keypoints: Float[np.ndarray, "21 2"], view: View) -> Float[np.ndarray, "3 3"]:
    """From pixels of the picture to pixels of a view of the hand, centres at integers."""
    low, high = keypoints.min(0), keypoints.max(0)
    centre, extent = (low + high) / 2, max(float((high - low).max()), 1.0)
    scale = view.scale * _CROP_PX / (_MARGIN * extent)
    angle = np.deg2rad(view.angle_deg)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if view.flip:
        turn = np.diag([-1.0, 1.0]) @ turn
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    matrix[:2, 2] = (_CROP_PX - 1) / 2 - turn @ centre
    return matrix


def look(
    picture: UInt8[np.ndarray, "h w 3"], matrix: Float[np.ndarray, "3 3"]
) -> UInt8[np.ndarray, "256 256 3"]:
    """The view of a picture that a matrix makes; black where the picture ends."""
    image = Image.fromarray(picture)
    # Bilinear sampling looks at four pixels: of a hand that fills a large picture too few.
    factor = int(1 / np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    if factor > 1:
        image = image.reduce(factor)
        matrix = matrix @ np.array(
            [[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2], [0, 0, 1]]
        )
    # Pillow asks where a pixel comes from, and counts from the corner instead of the centre.
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    back = half @ np.linalg.inv(matrix) @ np.linalg.inv(half)
    view = image.transform(
        (_CROP_PX, _CROP_PX), Image.Transform.AFFINE, back[:2].ravel().tolist(),
        Image.Resampling.BILINEAR,
    )  # fmt: skip
    return np.asarray(view)


def apply(
    matrix: Float[np.ndarray, "3 3"], points: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n 2"]:
    """Points through an affine matrix."""
    moved: np.ndarray = points @ matrix[:2, :2].T + matrix[:2, 2]
    return moved


def nearest(
    hands: Sequence[FoundHand], expected: Float[np.ndarray, "21 2"]
) -> Float[np.ndarray, "21 2"] | None:
    """The keypoints of the hand that lies where one is expected; None if none does."""
    size = hand_size(expected)
    distances = [np.linalg.norm(h.keypoints - expected, axis=-1).mean() / size for h in hands]
    if not distances or min(distances) > 0.5:
        return None
    return hands[int(np.argmin(distances))].keypoints
