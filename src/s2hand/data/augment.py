"""Training augmentation of whole batches on their device: one in-plane map and colour per clip.

The map is applied to K as well (K' = A K, a general 3x3), so camera-space labels stay valid:
``project(X, A K) = A project(X, K)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from kornia.enhance import adjust_contrast, adjust_saturation_with_gray_subtraction
from kornia.geometry.transform import warp_affine
from torch import Tensor, nn

from s2hand.geometry.camera import resize_affine, transform_points
from s2hand.types import HandBatch


class Augment(nn.Module):
    """Random rotation, scale, shift and colour, the same for every frame of a clip.

    The published S2HAND rotates by any angle about the principal point on FreiHAND, and scales by
    0.8-0.9 and shifts by 5 px on HO-3D. Colour is ours. Values come from torch's CPU generator, so
    a seed gives the same augmentation on every device. In ``eval()`` mode nothing is changed.

    Args:
        rotation_deg: angles are uniform in -rotation_deg..rotation_deg.
        scale: lower and upper scale factor of the picture; above 1 the hand grows.
        centre_px: shifts are uniform in -centre_px..centre_px, crop pixels, per axis.
        colour: exposure and saturation are multiplied by 1 - colour..1 + colour.
        about: fixed point of rotation and scale: the crop's ``centre``, or the ``principal`` point,
            which may be far outside a crop.
    """

    changes_pixels = True

    def __init__(
        self,
        rotation_deg: float = 180.0,
        scale: Sequence[float] = (1.0, 1.0),
        centre_px: float = 0.0,
        colour: float = 0.0,
        about: Literal["centre", "principal"] = "centre",
    ) -> None:
        super().__init__()
        low, high = scale
        if not 0 < low <= high:
            raise ValueError(f"scale={tuple(scale)}: give 0 < lower <= upper, such as (0.9, 1.1)")
        if not 0 <= colour < 1 or centre_px < 0 or rotation_deg < 0:
            raise ValueError(
                f"rotation_deg={rotation_deg}, centre_px={centre_px}, colour={colour}: none may be "
                "negative, and colour must be below 1"
            )
        if about not in ("centre", "principal"):
            raise ValueError(f"about={about!r}; use 'centre' or 'principal'")
        self.rotation_deg, self.scale, self.centre_px = rotation_deg, (low, high), centre_px
        self.colour, self.about = colour, about

    def forward(self, batch: HandBatch) -> HandBatch:
        """The batch as if the camera had been rotated, zoomed and shifted in the image plane.

        Raises:
            ValueError: if the batch has cached features, which belong to the original pixels.
        """
        if not self.training:
            return batch
        if batch.features is not None:
            raise ValueError(
                "cached features belong to unaugmented images: switch off the augmentation or the "
                "cache (data.cache_features=false)"
            )
        # One map for pixels, keypoints and K; (0, 0) marks undetected keypoints and stays.
        affine = self._draw(batch)[:, None]
        detected = (batch.confidence > 0)[..., None]
        moved = transform_points(affine, batch.keypoints)
        camera = replace(batch.camera, intrinsics=affine @ batch.camera.intrinsics)
        image = self._recolour(warp_clips(batch.image, affine[:, 0], batch.camera.crop_px))
        keypoints = torch.where(detected, moved, batch.keypoints)
        return replace(batch, image=image, keypoints=keypoints, camera=camera)

    def _draw(self, batch: HandBatch) -> Float[Tensor, "b 3 3"]:
        """One random map of crop pixels per clip."""
        # Four numbers per clip, drawn on the CPU whatever the device.
        K = batch.camera.intrinsics[:, 0]
        angle, scale, shift_x, shift_y = torch.rand(4, len(K)).to(K)
        angle = math.radians(self.rotation_deg) * (2 * angle - 1)
        scale = self.scale[0] + (self.scale[1] - self.scale[0]) * scale
        shift = self.centre_px * (2 * torch.stack([shift_x, shift_y], -1) - 1)
        if self.about == "principal":
            centre = K[:, :2, 2] / K[:, 2:, 2]
        else:
            centre = torch.full_like(shift, (batch.camera.crop_px - 1) / 2)
        # x' = L (x - centre) + centre + shift, with L the scaled rotation.
        cos, sin = scale * angle.cos(), scale * angle.sin()
        linear = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
        affine = torch.eye(3).to(K).repeat(len(K), 1, 1)
        affine[:, :2, :2] = linear
        affine[:, :2, 2] = centre + shift - (linear @ centre[..., None])[..., 0]
        return affine

    def _recolour(self, image: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t 3 h w"]:
        """The same exposure and saturation over a clip; black stays black."""
        if self.colour == 0:
            return image
        b, t = image.shape[:2]
        factors = 1 + self.colour * (2 * torch.rand(2, b) - 1)
        exposure, saturation = factors.to(image).repeat_interleave(t, 1)
        frames = adjust_saturation_with_gray_subtraction(image.flatten(0, 1), saturation)
        return adjust_contrast(frames, exposure).unflatten(0, (b, t))


class EqualConfidence(nn.Module):
    """Weights every detected keypoint equally, to measure what the confidences contribute.

    For ablations: confidences above 0 become 1 in training; undetected keypoints stay undetected.
    """

    changes_pixels = False

    def forward(self, batch: HandBatch) -> HandBatch:
        """The batch with confidences 0 and 1."""
        if not self.training:
            return batch
        return replace(batch, confidence=(batch.confidence > 0).to(batch.confidence))


def warp_clips(
    image: Float[Tensor, "b t 3 h h"], affine: Float[Tensor, "b 3 3"], crop_px: int
) -> Float[Tensor, "b t 3 h h"]:
    """Warp images of any resolution by maps in crop pixels; black outside."""
    b, t, _, height, width = image.shape
    # The map in image pixels: to the crop, moved there, and back.
    to_image = resize_affine(width / crop_px, height / crop_px).to(affine)
    to_crop = resize_affine(crop_px / width, crop_px / height).to(affine)
    maps = (to_image @ affine @ to_crop)[:, :2].repeat_interleave(t, 0)
    # In kornia, align_corners=True means pixel centres at integers.
    frames = warp_affine(image.flatten(0, 1), maps, (height, width), align_corners=True)
    return frames.unflatten(0, (b, t))
