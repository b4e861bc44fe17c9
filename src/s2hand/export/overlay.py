"""Pictures of a prediction over its image: the rendered hand, the skeleton, the detections.

Pure functions of uint8 RGB images [h, w, 3]; points are pixels of that image, pixel centres at
integers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from s2hand.geometry.skeleton import BONES

FINGER_COLORS = (
    (230, 60, 60),  # thumb
    (240, 160, 30),  # index
    (70, 190, 80),  # middle
    (50, 140, 240),  # ring
    (180, 90, 220),  # little
)
WRIST_COLOR = (235, 235, 235)
JOINT_COLORS = (WRIST_COLOR, *(color for color in FINGER_COLORS for _ in range(4)))
"""One colour for each joint of the common order; a bone has the colour of its child."""
_SUPERSAMPLE = 4
_FAR = 4.0  # points further away than this many image sides are not drawn


def blend_render(
    image: UInt8[np.ndarray, "h w 3"],
    render: Float[np.ndarray, "h w 3"],
    silhouette: Float[np.ndarray, "h w"],
    alpha: float = 0.85,
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay a rendered hand over the image.

    Args:
        image: RGB.
        render: RGB in 0..1, black outside the hand and darkened by coverage at its edge.
        silhouette: coverage 0..1.
        alpha: opacity of the hand, 0..1.
    """
    coverage = np.float32(alpha) * np.clip(silhouette, 0, 1, dtype=np.float32)[..., None]
    hand = np.float32(255 * alpha) * np.clip(render, 0, 1, dtype=np.float32)
    return np.clip(np.round(image * (1 - coverage) + hand), 0, 255).astype(np.uint8)


def paste_crop(
    image: UInt8[np.ndarray, "h w 3"],
    render: Float[np.ndarray, "s s 3"],
    silhouette: Float[np.ndarray, "s s"],
    affine: Float[np.ndarray, "3 3"],
    crop_px: int,
    alpha: float = 0.85,
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay the render of a crop over the whole image it was cut from.

    Args:
        image: RGB, the whole picture.
        render: RGB in 0..1 of the crop, at any resolution.
        silhouette: its coverage 0..1.
        affine: maps pixels of the image to pixels of the crop.
        crop_px: side of the crop that ``affine`` refers to.
        alpha: opacity of the hand, 0..1.
    """
    # Only the region under the crop is changed.
    left, top, right, bottom = _region(affine, crop_px, image)
    # Pillow's map is for borders (centres are at one half), the affine map is for centres.
    matrix = affine[:2, :2]
    shift = affine[:2, 2] + 0.5 + matrix @ (left - 0.5, top - 0.5)
    factor = render.shape[0] / crop_px
    coefficients = (factor * np.column_stack([matrix, shift])).ravel().tolist()
    layers = np.round(255 * np.dstack([render, silhouette]).clip(0, 1)).astype(np.uint8)
    # RGBa: the colours are already multiplied by coverage, as in renders.
    pasted = Image.frombytes("RGBa", layers.shape[1::-1], layers.tobytes()).transform(
        (right - left, bottom - top), Image.Transform.AFFINE, coefficients,
        Image.Resampling.BILINEAR,
    )  # fmt: skip
    # Blend the resampled render with the region.
    part = np.asarray(pasted) / np.float32(255)
    result = image.copy()
    result[top:bottom, left:right] = blend_render(
        image[top:bottom, left:right], part[..., :3], part[..., 3], alpha
    )
    return result


def _region(
    affine: Float[np.ndarray, "3 3"], crop_px: int, image: UInt8[np.ndarray, "h w 3"]
) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the image part that a crop covers, at least 1 x 1."""
    end = crop_px - 0.5
    borders = np.array([[-0.5, -0.5], [end, -0.5], [-0.5, end], [end, end]])
    corners = (borders - affine[:2, 2]) @ np.linalg.inv(affine[:2, :2]).T
    size = np.array(image.shape[1::-1])
    low = np.clip(np.floor(corners.min(0)).astype(int), 0, size - 1)
    high = np.clip(np.ceil(corners.max(0)).astype(int) + 1, low + 1, size)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def draw_skeleton(
    image: UInt8[np.ndarray, "h w 3"],
    joints_px: Float[np.ndarray, "21 2"],
    width_px: float = 2.0,
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw the 20 bones as lines and the 21 joints as dots, one colour for each finger.

    Joints that are not finite or far outside the image are left out, with their bones.
    """
    shown = _drawable(joints_px, image)
    layer = _Layer(image, joints_px[shown], width_px)
    for parent, child in BONES:
        if shown[parent] and shown[child]:
            layer.line(joints_px[parent], joints_px[child], width_px, JOINT_COLORS[child])
    for joint in np.flatnonzero(shown):
        layer.dot(joints_px[joint], 1.2 * width_px, JOINT_COLORS[joint])
    return layer.over()


def draw_detections(
    image: UInt8[np.ndarray, "h w 3"],
    keypoints_px: Float[np.ndarray, "21 2"],
    confidence: Float[np.ndarray, " 21"],
    radius_px: float = 3.0,
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw detected keypoints as crosses whose opacity is their confidence; 0 is not drawn."""
    shown = _drawable(keypoints_px, image) & (confidence > 0)
    layer = _Layer(image, keypoints_px[shown], radius_px)
    for joint in np.flatnonzero(shown):
        opacity = float(np.clip(confidence[joint], 0, 1))
        for step in ((radius_px, radius_px), (radius_px, -radius_px)):
            ends = keypoints_px[joint] - step, keypoints_px[joint] + step
            layer.line(*ends, radius_px / 3, JOINT_COLORS[joint], opacity)
    return layer.over()


def draw_note(image: UInt8[np.ndarray, "h w 3"], text: str) -> UInt8[np.ndarray, "h w 3"]:
    """Write a short text into the top left corner, white with a dark edge."""
    result = Image.fromarray(image)
    size = max(10, image.shape[0] // 24)
    ImageDraw.Draw(result).text(
        (size // 2, size // 2), text, "white", ImageFont.load_default(size),
        stroke_width=max(1, size // 10), stroke_fill="black",
    )  # fmt: skip
    return np.asarray(result)


def _drawable(points: np.ndarray, image: np.ndarray) -> np.ndarray:
    finite = np.isfinite(points).all(-1)
    return finite & (np.abs(np.where(finite[:, None], points, 0)) < _FAR * max(image.shape)).all(-1)


class _Layer:
    """A transparent supersampled layer over the part of an image that a drawing touches."""

    def __init__(self, image: np.ndarray, points: np.ndarray, reach_px: float) -> None:
        self.image = image
        h, w = image.shape[:2]
        points = points if len(points) else np.zeros((1, 2))
        margin = 2 * reach_px + 2
        low = np.floor(points.min(0) - margin).astype(int)
        high = np.ceil(points.max(0) + margin).astype(int) + 1
        self.left, self.top = np.clip(low, 0, (w - 1, h - 1)).tolist()
        self.right, self.bottom = np.clip(high, (self.left + 1, self.top + 1), (w, h)).tolist()
        size = (
            _SUPERSAMPLE * (self.right - self.left),
            _SUPERSAMPLE * (self.bottom - self.top),
        )
        self.layer = Image.new("RGBA", size)
        self.draw = ImageDraw.Draw(self.layer)

    def _fine(self, point: np.ndarray) -> tuple[float, float]:
        """A pixel of the image in pixels of the layer: u' = s (u + 1/2) - 1/2."""
        x, y = _SUPERSAMPLE * (point - (self.left, self.top) + 0.5) - 0.5
        return float(x), float(y)

    def line(
        self,
        start: np.ndarray,
        end: np.ndarray,
        width_px: float,
        color: Sequence[int],
        opacity: float = 1.0,
    ) -> None:
        """A straight line; it covers earlier lines of the layer."""
        fill = (*color, round(255 * opacity))
        width = max(1, round(_SUPERSAMPLE * width_px))
        self.draw.line([self._fine(start), self._fine(end)], fill, width)

    def dot(self, centre: np.ndarray, radius_px: float, color: Sequence[int]) -> None:
        """A filled disc."""
        x, y = self._fine(centre)
        radius = _SUPERSAMPLE * radius_px
        self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), (*color, 255))

    def over(self) -> np.ndarray:
        """A copy of the image under the layer, which is averaged to the image's pixels."""
        result = self.image.copy()
        part = result[self.top : self.bottom, self.left : self.right]
        under = Image.fromarray(part).convert("RGBA")
        under.alpha_composite(self.layer.resize(under.size, Image.Resampling.BOX))
        part[:] = np.asarray(under.convert("RGB"))
        return result
