"""Rendered hand against the image, inside the rendered silhouette.

The silhouette is soft and part of the graph, and means are over it (O): an edge moves out at
pixels of the hand's colour and in at others. With the public code's constant mask and mean over the
frame, a hand spreads over any brighter background.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from s2hand.loss.base import Loss, weighted_mean
from s2hand.types import HandBatch, Prediction

MIN_CONFIDENCE = 0.1
"""An image counts only if every keypoint is above this (P)."""
PIXELS = (-3, -2, -1)
"""Dimensions of channels, rows and columns."""


def resize_image(
    image: Float[Tensor, "b t 3 h w"], height: int, width: int
) -> Float[Tensor, "b t 3 height width"]:
    """Resample the crop at another resolution, without aliasing or shift."""
    if image.shape[-2:] == (height, width):
        return image
    resized = nn.functional.interpolate(
        image.flatten(0, 1), (height, width), mode="bilinear", antialias=True
    )
    return resized.unflatten(0, image.shape[:2])


def image_weights(confidence: Float[Tensor, "b t 21"]) -> Float[Tensor, "b t"]:
    """(mean confidence)^2, and 0 where any keypoint is at or below 0.1: likely occluded (S, P)."""
    usable = confidence.amin(-1) > MIN_CONFIDENCE
    return (usable * confidence.mean(-1)).square()


def compared_images(
    prediction: Prediction, batch: HandBatch
) -> tuple[Float[Tensor, "b t 3 h w"], Float[Tensor, "b t 3 h w"], Float[Tensor, "b t"]]:
    """I^re, I * S^re, and the number of values inside S^re, to divide a sum over an image by.

    That number is the silhouette's area in pixels of the render, at least 1, times 3 channels.
    """
    if prediction.render is None:
        raise ValueError("a photometric loss needs prediction.render, which is None")
    silhouette = prediction.render.silhouette
    real = resize_image(batch.image, *silhouette.shape[-2:]) * silhouette.unsqueeze(2)
    return prediction.render.image, real, 3 * silhouette.sum((-2, -1)).clamp_min(1)


class Photometric(Loss):
    """Mean |I^re - I| inside S^re, a weighted mean over images (S2HAND, photometric loss).

    P: the weight of an image, :func:`image_weights`. O: the mean is over the silhouette, where the
    public code's is over the frame, so the values are larger by the frame's area over the hand's.
    """

    needs_render = True

    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The weighted mean over images, 0..1."""
        rendered, real, area = compared_images(prediction, batch)
        error = (rendered - real).abs().sum(PIXELS) / area
        return weighted_mean(error, image_weights(batch.confidence))

    def diagnostics(self, prediction: Prediction, batch: HandBatch) -> dict[str, Tensor]:
        """``active_share``: the fraction of images whose weight is not 0."""
        return {"active_share": (image_weights(batch.confidence) > 0).float().mean()}


class MeanColour(Loss):
    """|mean of I^re - mean of I| inside S^re over pixels and channels, weighted as the photometric.

    P, except that the means are over the silhouette, not the frame (O).
    """

    needs_render = True

    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The weighted mean over images, 0..1."""
        rendered, real, area = compared_images(prediction, batch)
        error = (rendered - real).sum(PIXELS).abs() / area
        return weighted_mean(error, image_weights(batch.confidence))


class StructuralSimilarity(Loss):
    """1 - SSIM(I * S^re, I^re), the mean over pixels, channels and images (S2HAND, SSIM loss).

    SSIM as in Wang et al. 2004: Gaussian window of 11 pixels and sigma 1.5, K = (0.01, 0.03), the
    border padded with zeros (P).
    """

    needs_render = True

    def forward(self, prediction: Prediction, batch: HandBatch) -> Float[Tensor, ""]:
        """The mean over images, 0..2."""
        rendered, real, _ = compared_images(prediction, batch)
        return 1 - ssim(real, rendered).mean()


def ssim(a: Float[Tensor, "*n h w"], b: Float[Tensor, "*n h w"]) -> Float[Tensor, "*n h w"]:
    """Structural similarity of images in 0..1 at every pixel."""
    window_h, window_w = (gaussian_band(size, a) for size in a.shape[-2:])
    # Only the sum of the two variances is needed: four maps to blur instead of five.
    moments = torch.stack([a, b, a * a + b * b, a * b])
    mean_a, mean_b, squares, product = (window_h @ (moments @ window_w)).unbind(0)
    means, mean_squares = mean_a * mean_b, mean_a.square() + mean_b.square()
    luminance = (2 * means + 0.01**2) / (mean_squares + 0.01**2)
    return luminance * (2 * (product - means) + 0.03**2) / (squares - mean_squares + 0.03**2)


def gaussian_band(size: int, like: Tensor) -> Float[Tensor, "size size"]:
    """The blur by 11 Gaussian taps (sigma 1.5, zero border) as a symmetric banded matrix.

    Two dense products are over ten times faster on a CPU than two one-channel convolutions.
    """
    position = torch.arange(size, dtype=like.dtype, device=like.device)
    offset = position - position[:, None]
    taps = torch.arange(-5, 6, dtype=like.dtype, device=like.device)
    total = torch.exp(taps.square() / -4.5).sum()
    return torch.exp(offset.square() / -4.5) * (offset.abs() <= 5) / total
