"""The mirror of a left hand: every quantity against the mirror of the geometry itself."""

from __future__ import annotations

import torch

from s2hand.export.mirror import mirror_faces, mirror_hand, mirror_prediction
from s2hand.geometry.camera import project
from s2hand.geometry.mesh import vertex_normals
from s2hand.geometry.rotation import axis_angle_to_matrix, quaternion_to_matrix
from s2hand.types import Camera, Prediction

MIRROR = torch.diag(torch.tensor([-1.0, 1, 1], dtype=torch.float64))


def test_points_and_rotations_are_conjugated_by_the_mirror(prediction: Prediction) -> None:
    hand, mirrored = prediction.hand, mirror_hand(prediction.hand)
    torch.testing.assert_close(mirrored.vertices, hand.vertices @ MIRROR)
    torch.testing.assert_close(mirrored.joints, hand.joints @ MIRROR)
    torch.testing.assert_close(mirrored.code.translation, hand.code.translation @ MIRROR)
    torch.testing.assert_close(mirrored.code.light[..., 8:], hand.code.light[..., 8:] @ MIRROR)
    torch.testing.assert_close(mirrored.code.light[..., :8], hand.code.light[..., :8])
    torch.testing.assert_close(
        axis_angle_to_matrix(mirrored.code.rotation),
        MIRROR @ axis_angle_to_matrix(hand.code.rotation) @ MIRROR,
    )
    torch.testing.assert_close(
        quaternion_to_matrix(mirrored.quaternions),
        MIRROR @ quaternion_to_matrix(hand.quaternions) @ MIRROR,
    )
    for name in ("pose", "shape", "scale", "texture"):
        assert torch.equal(getattr(mirrored.code, name), getattr(hand.code, name))


def test_faces_keep_pointing_outwards() -> None:
    vertices = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]], dtype=torch.float64)
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    normals = vertex_normals(vertices, faces)
    torch.testing.assert_close(
        vertex_normals(vertices @ MIRROR, mirror_faces(faces)), normals @ MIRROR
    )


def test_the_mirrored_camera_sees_the_mirrored_pixels(
    prediction: Prediction, camera: Camera
) -> None:
    mirrored, other = mirror_prediction(prediction, camera)
    assert other.crop_px == camera.crop_px
    torch.testing.assert_close(mirrored.joints_2d[..., 0], 223 - prediction.joints_2d[..., 0])
    torch.testing.assert_close(mirrored.joints_2d[..., 1], prediction.joints_2d[..., 1])
    torch.testing.assert_close(
        mirrored.joints_2d, project(mirrored.hand.joints, other.intrinsics), atol=1e-9, rtol=0
    )
    assert prediction.render is not None
    assert mirrored.render is not None
    assert torch.equal(mirrored.render.image, prediction.render.image.flip(-1))
    (estimate,), (before,) = mirrored.estimated_joints_2d, prediction.estimated_joints_2d
    torch.testing.assert_close(estimate[..., 0], 223 - before[..., 0])


def test_an_upright_camera_keeps_its_focal_lengths(prediction: Prediction) -> None:
    k = torch.tensor([[500.0, 0, 100], [0, 480, 120], [0, 0, 1]], dtype=torch.float64)
    _, other = mirror_prediction(prediction, Camera(k.expand(2, 3, 3, 3)))
    expected = torch.tensor([[500.0, 0, 223 - 100], [0, 480, 120], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(other.intrinsics[1, 2], expected)


def test_mirroring_twice_changes_nothing(prediction: Prediction, camera: Camera) -> None:
    twice, other = mirror_prediction(*mirror_prediction(prediction, camera))
    torch.testing.assert_close(other.intrinsics, camera.intrinsics)
    torch.testing.assert_close(twice.joints_2d, prediction.joints_2d)
    torch.testing.assert_close(twice.hand.vertices, prediction.hand.vertices)
    torch.testing.assert_close(twice.hand.quaternions, prediction.hand.quaternions)
