"""Left hands: predictions on the mirrored image, mirrored back.

The package processes right hands only. A left hand's image is flipped on input, and the prediction
is flipped back here: X' = -X, u' = width - 1 - u, axis-angle (a, b, c) to (a, -b, -c).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from s2hand.geometry.camera import mirror_affine, transform_points
from s2hand.types import Camera, Hand, Prediction


def mirror_hand(hand: Hand) -> Hand:
    """The other hand, mirrored at the plane X = 0 of the camera. Mirroring twice changes nothing.

    Vertices, joints, rotations, translation and the light's direction are mirrored; shape and the
    PCA coefficients of the pose are unchanged and refer to the hand model of the other side. The
    mesh needs :func:`mirror_faces`.
    """

    def flip(x: Tensor, *signs: float) -> Tensor:
        return x * x.new_tensor(signs)

    light = hand.code.light
    code = replace(
        hand.code,
        rotation=flip(hand.code.rotation, 1, -1, -1),
        translation=flip(hand.code.translation, -1, 1, 1),
        light=torch.cat([light[..., :8], flip(light[..., 8:], -1, 1, 1)], -1),
    )
    return Hand(
        code,
        vertices=flip(hand.vertices, -1, 1, 1),
        joints=flip(hand.joints, -1, 1, 1),
        quaternions=flip(hand.quaternions, 1, 1, -1, -1),
    )


def mirror_faces(faces: Int[Tensor, "f 3"]) -> Int[Tensor, "f 3"]:
    """Faces of a mirrored mesh, again counter-clockwise seen from outside."""
    return faces.flip(-1)


def mirror_prediction(prediction: Prediction, camera: Camera) -> tuple[Prediction, Camera]:
    """The prediction and the camera of the flipped crop.

    With A the flip of pixels and M the flip of X, the camera becomes A K M, so that the mirrored
    joints project onto the mirrored pixels.
    """
    flip = mirror_affine(camera.crop_px).to(camera.intrinsics)
    intrinsics = flip @ camera.intrinsics @ torch.diag(flip.new_tensor([-1.0, 1.0, 1.0]))
    mirrored = Prediction(
        hand=mirror_hand(prediction.hand),
        joints_2d=transform_points(flip, prediction.joints_2d),
        estimated_joints_2d=tuple(
            transform_points(flip, joints) for joints in prediction.estimated_joints_2d
        ),
        render=None if prediction.render is None else prediction.render.map(lambda x: x.flip(-1)),
    )
    return mirrored, replace(camera, intrinsics=intrinsics)
