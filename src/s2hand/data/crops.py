"""Square crops around detected hands: their boxes, smoothing over time, and cutting.

A box is (left, top, side) in pixel edges of the full image, as image libraries count them: the
image covers 0..width. Boxes are computed from detections only, never from labels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

CROP_PX = 224
"""Side of the crop that keypoints and K refer to, whatever the resolution of its image."""

MIN_SIDE_PX = 32.0
"""Minimum side, so that a few keypoints of a hidden hand do not zoom into noise."""


def place_boxes(
    keypoints: Float[np.ndarray, "n 21 2"],
    confidence: Float[np.ndarray, "n 21"],
    sizes: Int[np.ndarray, "n 2"],
    margin: float,
    smooth_frames: float = 0.0,
    sequence: bool = False,
    keep_all: bool = False,
) -> Float[np.ndarray, "n 3"]:
    """The box of each frame; NaN without a usable detection, unless ``keep_all``.

    ``sizes`` are (width, height) of the frames. A box outside its frame, or many times larger, is
    not usable. Boxes of a ``sequence`` are smoothed within runs of usable frames.
    """
    boxes = detection_boxes(keypoints, confidence, margin)
    boxes[~_plausible(boxes, sizes)] = np.nan
    if sequence:
        found = np.flatnonzero(~np.isnan(boxes[:, 0]))
        boxes = smooth_boxes(boxes, confidence.sum(-1), runs_of(found), smooth_frames)
    return fill_boxes(boxes, sizes, sequence) if keep_all else boxes


def detection_boxes(
    keypoints: Float[np.ndarray, "n 21 2"], confidence: Float[np.ndarray, "n 21"], margin: float
) -> Float[np.ndarray, "n 3"]:
    """Confidence-weighted square boxes (our definition); NaN rows where nothing is detected.

    Each keypoint is first pulled towards the weighted mean m: p' = w p + (1 - w) m, with w from
    :func:`weights`. So a confident keypoint counts fully, a doubtful one partly, and one with
    confidence 0 not at all. The box is a square around the middle of the extent of the p'; its side
    is ``margin`` times the larger extent.
    """
    if margin < 1:
        raise ValueError(f"margin={margin}: at least 1 (the bare keypoints), often 1.6 to 1.8")
    # Weighted mean of the keypoints, then the extent of the pulled ones.
    weight = weights(confidence)[..., None]
    total = weight.sum(1, keepdims=True)
    mean = (weight * keypoints).sum(1, keepdims=True) / np.where(total > 0, total, 1)
    pulled = mean + weight * (keypoints - mean)
    low, high = pulled.min(1), pulled.max(1)
    side = np.maximum(margin * (high - low).max(-1), MIN_SIDE_PX)
    middle = (low + high) / 2 + 0.5  # pixel centres to pixel edges
    boxes = np.concatenate([middle - side[:, None] / 2, side[:, None]], -1)
    boxes[total[:, 0, 0] <= 0] = np.nan
    return boxes


def weights(confidence: Float[np.ndarray, "n 21"]) -> Float[np.ndarray, "n 21"]:
    """The weight of each keypoint, 0..1; it is 1 from a confidence of 1/2 (our definition).

    In a frame where no keypoint reaches 1/2, it is 1 at the highest confidence: doubtful keypoints
    still indicate the size of the hand.
    """
    enough = confidence.max(-1, keepdims=True).clip(max=0.5)
    return (confidence / np.where(enough > 0, enough, 1)).clip(max=1)


def smooth_boxes(
    boxes: Float[np.ndarray, "n 3"],
    trust: Float[np.ndarray, " n"],
    runs: Iterable[Int[np.ndarray, " m"]],
    sigma_frames: float,
) -> Float[np.ndarray, "n 3"]:
    """Smooth boxes over time, so that a video's crops do not jump; deterministic, no lag.

    Within each run of consecutive frames, centres are smoothed by a Gaussian of ``sigma_frames``
    (0 = none), symmetric in time and weighted by the ``trust`` in each frame's box. Sides are
    smoothed by the same Gaussian after a sliding maximum of its width, so that no crop is smaller
    than its hand needs, even where a fist opens quickly.
    """
    if sigma_frames < 0:
        raise ValueError(f"smooth_frames={sigma_frames}: at least 0, often 4")
    reach = math.ceil(3 * sigma_frames)
    if reach == 0:
        return boxes
    smoothed = boxes.copy()
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_frames) ** 2)

    def average(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        total = np.convolve(weight, kernel)[reach:-reach]
        return np.convolve(weight * values, kernel)[reach:-reach] / total

    # Runs are smoothed separately: a gap may be a cut.
    for rows in runs:
        # Smooth centres, not corners: sides are smoothed differently.
        side = boxes[rows, 2]
        x, y = (average(boxes[rows, i] + side / 2, trust[rows]) for i in (0, 1))
        widest = sliding_window_view(np.pad(side, reach, mode="edge"), 2 * reach + 1).max(-1)
        side = average(widest, np.ones(len(rows)))
        smoothed[rows] = np.stack([x - side / 2, y - side / 2, side], -1)
    return smoothed


def fill_boxes(
    boxes: Float[np.ndarray, "n 3"], sizes: Int[np.ndarray, "n 2"], sequence: bool
) -> Float[np.ndarray, "n 3"]:
    """Fill boxes that are NaN: with the previous one of a sequence, or the full frame."""
    filled = boxes.copy()
    for i in np.flatnonzero(np.isnan(boxes[:, 0])):
        if sequence and i > 0:
            filled[i] = filled[i - 1]
        else:
            width, height = sizes[i]
            side = max(width, height)
            filled[i] = (width - side) / 2, (height - side) / 2, side
    return filled


def crop_image(
    image: Image.Image, box: Float[np.ndarray, " 3"], size_px: int
) -> UInt8[np.ndarray, "s s 3"]:
    """Cut a box with sub-pixel edges and resize it, antialiased; black outside the image.

    Raises:
        ValueError: if the box is outside the image, or many times larger.
    """
    if not _plausible(box[None], np.array([image.size]))[0]:
        raise ValueError(f"box {box.tolist()} (left, top, side) misses its image of {image.size}")
    left, top, side = (float(value) for value in box)
    # Cut at whole pixels with a border, then resample the box within.
    border = math.ceil(side / size_px) + 1  # the filter's reach: beyond the image it must see black
    x, y = math.floor(left) - border, math.floor(top) - border
    reach = math.ceil(side) + 2 * border + 1
    region = image.crop((x, y, x + reach, y + reach))
    cut = (left - x, top - y, left - x + side, top - y + side)
    return np.asarray(region.resize((size_px, size_px), Image.Resampling.BILINEAR, box=cut))


def runs_of(numbers: Int[np.ndarray, " n"]) -> list[Int[np.ndarray, " m"]]:
    """Increasing numbers, split wherever one is missing."""
    return np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1) if len(numbers) else []


def _plausible(boxes: Float[np.ndarray, "n 3"], sizes: Int[np.ndarray, "n 2"]) -> np.ndarray:
    """Whether each box overlaps its image and is at most 8 times as large; False for NaN."""
    start, end = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    return ((start < sizes) & (end > 0)).all(-1) & (boxes[:, 2] <= 8 * sizes.max(-1))
