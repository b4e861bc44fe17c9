"""Confidence per keypoint, from repeated detection on rotated, scaled and mirrored pictures.

MediaPipe reports a score per hand, but none per joint. A visible joint is found at the same place
on every changed picture; the position of a guessed joint varies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from s2hand.detect.hands import FoundHand, hand_size

SPREAD = 0.02
"""Deviation, as a fraction of the hand's size, at which the confidence is exp(-1/2)."""
_CROP_PX = 256  # of a view; the palm detector's input has 192, the landmark network's 224
_MARGIN = 2.2  # side of a view, as a multiple of the hand's extent
_BORDER_PX = 1.0

Find = Callable[[UInt8[np.ndarray, "h w 3"]], Sequence[FoundHand]]
"""A detector for single pictures."""


@dataclass(frozen=True)
class PictureChange:
    """Rotation, scale and mirroring of the picture around a hand, which make one view."""

    angle_deg: float
    scale: float
    """Of the hand in the view; 1 keeps the margin."""
    flip: bool


PICTURE_CHANGES = (
    PictureChange(-22, 1.0, False),
    PictureChange(18, 0.85, False),
    PictureChange(0, 1.15, True),
    PictureChange(-12, 0.9, True),
    PictureChange(25, 1.1, True),
)


def with_confidence(picture: UInt8[np.ndarray, "h w 3"], hand: FoundHand, find: Find) -> FoundHand:
    """The hand with steadier keypoints and a confidence for each (:func:`agreement`).

    A joint on the border of the picture or outside has confidence 0: detectors clamp their guesses
    to the border.
    """
    again = detect_again(picture, hand.keypoints, find)
    keypoints, confidence = agreement(hand.keypoints, again)
    confidence = np.where(inside(keypoints, picture), confidence, 0.0)
    return replace(hand, keypoints=keypoints, confidence=confidence)


def agreement(
    keypoints: Float[np.ndarray, "21 2"], again: Float[np.ndarray, "views 21 2"]
) -> tuple[Float[np.ndarray, "21 2"], Float[np.ndarray, " 21"]]:
    """Medians of a hand's repeated detections, and the confidences 0..1 (our definition).

    Let d be the distances of a joint's detections to their median, and n of v the views in which
    the hand was found: conf = (n + 1) / (v + 1) exp(-1/2 (median(d) / size / 0.02)^2). The first
    detection counts too, so a hand that no view finds again keeps a low confidence above 0.

    Args:
        keypoints: the first detection, pixels.
        again: the detections in the views; NaN where the hand was not found.
    """
    found = again[np.isfinite(again).all((1, 2))]
    # The median is robust against a view with a wrong hand.
    points = np.concatenate([keypoints[None], found])
    median = np.median(points, 0)
    distances = np.linalg.norm(points - median, axis=-1)
    deviation = np.median(distances, 0) / max(float(hand_size(median)), 1e-6)
    fraction = len(points) / (len(again) + 1)
    return median, fraction * np.exp(-0.5 * (deviation / SPREAD) ** 2)


def detect_again(
    picture: UInt8[np.ndarray, "h w 3"],
    keypoints: Float[np.ndarray, "21 2"],
    find: Find,
    changes: Sequence[PictureChange] = PICTURE_CHANGES,
) -> Float[np.ndarray, "views 21 2"]:
    """The hand's keypoints found in each view, in pixels of the picture; NaN where not found."""
    again = np.full((len(changes), *keypoints.shape), np.nan)
    for row, change in zip(again, changes, strict=True):
        matrix = view_matrix(keypoints, change)
        found = nearest(find(warp(picture, matrix)), apply(matrix, keypoints))
        if found is not None:
            row[:] = apply(np.linalg.inv(matrix), found)
    return again


def inside(
    keypoints: Float[np.ndarray, "21 2"], picture: UInt8[np.ndarray, "h w 3"]
) -> Bool[np.ndarray, " 21"]:
    """Whether each keypoint is in the picture, more than a pixel from its border."""
    last = np.array(picture.shape[1::-1]) - 1 - _BORDER_PX
    within: np.ndarray = np.all((keypoints > _BORDER_PX) & (keypoints < last), axis=-1)
    return within


def view_matrix(
    keypoints: Float[np.ndarray, "21 2"], change: PictureChange
) -> Float[np.ndarray, "3 3"]:
    """The map from pixels of the picture to pixels of a view, pixel centres at integers."""
    # Scale the hand's extent, with the margin, to the side of the view.
    low, high = keypoints.min(0), keypoints.max(0)
    centre, extent = (low + high) / 2, max(float((high - low).max()), 1.0)
    scale = change.scale * _CROP_PX / (_MARGIN * extent)
    angle = np.deg2rad(change.angle_deg)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if change.flip:
        linear = np.diag([-1.0, 1.0]) @ linear
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = (_CROP_PX - 1) / 2 - linear @ centre
    return matrix


def warp(
    picture: UInt8[np.ndarray, "h w 3"], matrix: Float[np.ndarray, "3 3"]
) -> UInt8[np.ndarray, "256 256 3"]:
    """The view that :func:`view_matrix` describes; black outside the picture."""
    image = Image.fromarray(picture)
    # Bilinear sampling averages four pixels only: reduce a large hand first, against aliasing.
    factor = int(1 / np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    if factor > 1:
        image = image.reduce(factor)
        matrix = matrix @ np.array(
            [[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2], [0, 0, 1]]
        )
    # Pillow takes the inverse map, and counts pixels from the corner instead of the centre.
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
    """Points mapped by an affine matrix."""
    moved: np.ndarray = points @ matrix[:2, :2].T + matrix[:2, 2]
    return moved


def nearest(
    hands: Sequence[FoundHand], expected: Float[np.ndarray, "21 2"]
) -> Float[np.ndarray, "21 2"] | None:
    """The keypoints nearest to the expected ones; None if they are over half a hand away."""
    size = hand_size(expected)
    distances = [np.linalg.norm(h.keypoints - expected, axis=-1).mean() / size for h in hands]
    if not distances or min(distances) > 0.5:
        return None
    return hands[int(np.argmin(distances))].keypoints
