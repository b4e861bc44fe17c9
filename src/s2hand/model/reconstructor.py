"""From a batch to a prediction: network, hand, camera and renderer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from s2hand.geometry.camera import crop_camera, project
from s2hand.geometry.rotation import (
    axis_angle_to_quaternion,
    matrix_to_quaternion,
    quaternion_multiply,
    quaternion_to_axis_angle,
)
from s2hand.hand.mano import ManoHead
from s2hand.model.networks import CodeNetwork, RawCodes
from s2hand.render.scene import HandRenderer
from s2hand.types import Camera, HandBatch, HandCode, Prediction

REFERENCE_FOCAL_PX = 500.0
"""Focal length, in pixels of a 224 crop, that the translation code refers to under
``camera="crop"``; near FreiHAND's median of 492."""


class Reconstructor(nn.Module):
    """Maps a :class:`HandBatch` to a :class:`Prediction`; time is folded here only.

    Args:
        network: images to raw codes.
        hand: codes to a posed hand.
        renderer: posed hand to pixels.
        camera: the frame of the rotation and translation codes. ``paper``: the camera's (S2HAND);
            ``crop``: that of a virtual camera that looks through the crop's centre with a reference
            focal length, then moved into the camera's (our definition). They agree for a crop
            centred on the principal point at the reference focal length. For crops from other
            places only the second can be inferred from the crop.
        base_rotation_deg: axis-angle in degrees of a zero rotation code.
    """

    base: Tensor

    def __init__(
        self,
        network: CodeNetwork,
        hand: ManoHead,
        renderer: HandRenderer,
        camera: Literal["paper", "crop"] = "paper",
        base_rotation_deg: Sequence[float] = (0.0, 0.0, 0.0),
    ) -> None:
        super().__init__()
        if camera not in ("paper", "crop"):
            raise ValueError(f"camera={camera!r}: use paper or crop")
        self.network, self.hand, self.renderer, self.camera = network, hand, renderer, camera
        base = torch.tensor([math.radians(angle) for angle in base_rotation_deg])
        self.register_buffer("base", axis_angle_to_quaternion(base), persistent=False)

    def encode(self, batch: HandBatch) -> tuple[HandCode, tuple[Tensor, ...]]:
        """The code of each frame, and J^est of each stage in pixels of the crop [b, t, 21, 2]."""
        b, t = batch.confidence.shape[:2]
        flat = batch.unlabelled().fold()
        raw: RawCodes = self.network(flat.image, flat.features)
        # Geometry stays float32 under mixed precision, for pixel accuracy of a hand 0.6 m away.
        values = {name: value.float() for name, value in raw.values.items()}
        code = self._place(values, flat.camera).unfold(b, t)
        size = batch.camera.crop_px
        estimates = tuple(
            (estimate.joints.float() * size - 0.5).unflatten(0, (b, t))
            for estimate in raw.estimates
        )
        return code, estimates

    def decode(
        self,
        code: HandCode,
        camera: Camera,
        estimates: tuple[Tensor, ...] = (),
        render: bool = True,
        resolution: int | None = None,
        convention: str | None = None,
        left: Bool[Tensor, "b t"] | None = None,
    ) -> Prediction:
        """Pose, project and (on demand) render a code.

        Joints follow the hand's or a named convention (``batch.convention``, ``batch.left``).
        """
        with torch.autocast(code.pose.device.type, enabled=False):
            hand = self.hand(code, convention, left)
            joints_2d = project(hand.joints, camera.intrinsics)
            pixels = self.renderer(hand, camera, self.hand.faces, resolution) if render else None
        return Prediction(hand, joints_2d, estimates, pixels)

    def forward(
        self, batch: HandBatch, render: bool = True, resolution: int | None = None
    ) -> Prediction:
        """Encode and decode."""
        code, estimates = self.encode(batch)
        return self.decode(
            code, batch.camera, estimates, render, resolution, batch.convention, batch.left
        )

    def _place(self, values: dict[str, Tensor], camera: Camera) -> HandCode:
        """Raw rotation and translation into the camera frame."""
        rotation, translation = self._to_camera(
            quaternion_multiply(
                axis_angle_to_quaternion(values["rotation"]),
                self.base.expand(len(values["rotation"]), 4),
            ),
            values["translation"],
            camera,
        )
        placed = {"rotation": quaternion_to_axis_angle(rotation), "translation": translation}
        return HandCode(**(values | placed))

    def _to_camera(
        self, rotation: Float[Tensor, "n 4"], translation: Float[Tensor, "n 3"], camera: Camera
    ) -> tuple[Tensor, Tensor]:
        if self.camera == "paper":
            return rotation, translation
        rotated, focal = crop_camera(camera.intrinsics, camera.crop_px)
        # The reference hand fills the same part of the crop at any focal length of the crop.
        ratio = focal / (REFERENCE_FOCAL_PX * camera.crop_px / 224)
        depth = (translation[:, 2] * ratio)[:, None]
        moved = torch.cat([translation[:, :2], depth], 1)
        return (
            quaternion_multiply(matrix_to_quaternion(rotated), rotation),
            (rotated @ moved[..., None])[..., 0],
        )
