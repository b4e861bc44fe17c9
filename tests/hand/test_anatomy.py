from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from s2hand.geometry.rotation import axis_angle_to_quaternion
from s2hand.geometry.skeleton import MANO_FINGERS
from s2hand.hand.anatomy import LIMITS_DEG, angle_limits, joint_angles, joint_frames
from s2hand.hand.mano import ManoHead
from s2hand.hand.model_file import load_hand_model

MIRROR = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def model():
    return load_hand_model()


@pytest.fixture(scope="module")
def frames(model):
    return torch.from_numpy(joint_frames(model))


def _rotation(frame: np.ndarray, twist: float, spread: float, bend: float) -> torch.Tensor:
    """Quaternion (w, x, y, z) of Rz(bend) Ry(spread) Rx(twist) in a joint's frame."""
    local = Rotation.from_euler("ZYX", [bend, spread, twist]).as_matrix()
    turn = Rotation.from_matrix(frame @ local @ frame.T)
    return torch.from_numpy(turn.as_quat(scalar_first=True))


def _quaternions(poses: np.ndarray) -> torch.Tensor:
    """[n, 45] axis-angle to [n, 15, 4]."""
    return axis_angle_to_quaternion(torch.from_numpy(poses).reshape(-1, 15, 3))


def test_limits_are_the_specified_ones():
    degrees = torch.rad2deg(angle_limits())
    assert degrees.shape == (15, 3, 2)
    base, other = [[-5, 5], [-10, 10], [-10, 100]], [[-5, 5], [-5, 5], [-10, 100]]
    little = [[-20, 5], [-10, 20], [-10, 100]]
    thumb = [
        [[0, 90], [-22.5, 33.75], [-22.5, 22.5]],
        [[-5, 5], [-5, 5], [-22.5, 22.5]],
        [[-5, 5], [-5, 5], [-20, 100]],
    ]
    expected = [base, other, other] * 2 + [little, other, other] + [base, other, other] + thumb
    torch.testing.assert_close(degrees, torch.tensor(expected, dtype=torch.float32))
    assert set(LIMITS_DEG) == set(MANO_FINGERS)


def test_frames_are_rotations_along_the_bones(model, frames):
    identity = torch.eye(3, dtype=torch.float64).expand(15, 3, 3)
    torch.testing.assert_close(frames.transpose(-1, -2) @ frames, identity)
    torch.testing.assert_close(torch.linalg.det(frames), torch.ones(15, dtype=torch.float64))
    bone = model.rest_joints[2] - model.rest_joints[1]  # the index's first bone
    np.testing.assert_allclose(frames[0, :, 0], bone / np.linalg.norm(bone), atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 14),
    st.floats(-3.1, 3.1),
    st.floats(-1.5, 1.5),
    st.floats(-3.1, 3.1),
)
def test_angles_are_read_back(joint, twist, spread, bend):
    frames = joint_frames(load_hand_model())
    turns = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64).repeat(15, 1)
    turns[joint] = _rotation(frames[joint], twist, spread, bend)
    angles = joint_angles(turns, torch.from_numpy(frames))
    expected = torch.zeros(15, 3, dtype=torch.float64)
    expected[joint] = torch.tensor([twist, spread, bend], dtype=torch.float64)
    torch.testing.assert_close(angles, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("finger", range(5))
@pytest.mark.parametrize("joint", range(3))
def test_positive_bend_goes_to_the_palm(model, frames, finger, joint):
    """The bone ahead of a bent joint moves to the palm (-y); the thumb's across it (-z)."""
    number = 3 * finger + joint
    frame = frames[number].numpy()
    sign = -1 if finger == 4 else 1  # the thumb's twist axis points back along the bone
    ahead = Rotation.from_rotvec(0.5 * frame[:, 2]).apply(sign * frame[:, 0])
    moved = ahead - sign * frame[:, 0]
    assert moved[2 if finger == 4 else 1] < -0.2


@pytest.mark.parametrize("finger", range(4))
def test_positive_spread_goes_to_the_little_finger(frames, finger):
    frame = frames[3 * finger].numpy()
    moved = Rotation.from_rotvec(0.3 * frame[:, 1]).apply(frame[:, 0]) - frame[:, 0]
    assert moved[2] < -0.2


def test_the_thumbs_positive_spread_lifts_it_out_of_the_palm(frames):
    frame = frames[12].numpy()
    moved = -Rotation.from_rotvec(0.3 * frame[:, 1]).apply(frame[:, 0]) + frame[:, 0]
    assert moved[1] < -0.15


def test_natural_poses_keep_the_limits(model):
    """Fewer than 5 % of the angles of the open hand's own poses lie outside (as measured: 3 %)."""
    poses = model.hands_coeffs @ model.hands_components + model.hands_mean
    head = ManoHead(model)
    root = torch.tensor([1.0, 0, 0, 0]).expand(len(poses), 1, 4)
    angles = head.joint_angles(torch.cat([root, _quaternions(poses).float()], 1))
    outside = (angles < head.angle_limits[..., 0]) | (angles > head.angle_limits[..., 1])
    assert outside.float().mean() < 0.05
    backwards = (-angles < head.angle_limits[..., 0]) | (-angles > head.angle_limits[..., 1])
    assert backwards.float().mean() > 0.2  # the limits are not so wide that all would pass


def test_a_left_hand_has_the_same_angles(model):
    """Mirrored axis-angle (a, b, c) is (a, -b, -c); its angles on the left hand are the right's."""
    turn = np.tile([1.0, -1.0, -1.0], 15)
    left = replace(
        model,
        side="left",
        v_template=model.v_template * MIRROR,
        hands_mean=model.hands_mean * turn,
    )
    poses = (model.hands_coeffs @ model.hands_components + model.hands_mean)[:50]
    right_angles = joint_angles(_quaternions(poses), torch.from_numpy(joint_frames(model)))
    left_angles = joint_angles(_quaternions(poses * turn), torch.from_numpy(joint_frames(left)))
    torch.testing.assert_close(left_angles, right_angles, atol=1e-9, rtol=0)


def test_frames_are_defined_where_the_mean_pose_is_flat(model, frames):
    flat = torch.from_numpy(joint_frames(replace(model, hands_mean=np.zeros(45))))
    assert torch.isfinite(flat).all()
    apart = torch.rad2deg(torch.acos((flat[:, :, 2] * frames[:, :, 2]).sum(1).clamp(max=1)))
    assert apart.max() < 25


@pytest.mark.parametrize("spread", [0.0, math.pi / 2])
def test_gradients_are_finite_at_the_identity_and_at_the_singular_spread(frames, spread):
    turns = torch.stack([_rotation(frame.numpy(), 0, spread, 0) for frame in frames])
    turns.requires_grad_()
    angles = joint_angles(turns, frames)
    angles.sum().backward()
    assert torch.isfinite(angles).all()
    assert turns.grad.abs().max() < 1e8, "finite, and not by chance"
    if spread == 0:
        assert (turns.grad.abs().sum(-1) > 0.1).all()


def test_the_exactly_singular_rotation_has_finite_gradients():
    turns = torch.tensor([0.5, 0.5, 0.5, -0.5], dtype=torch.float64).repeat(15, 1).requires_grad_()
    angles = joint_angles(turns, torch.eye(3, dtype=torch.float64).expand(15, 3, 3))
    angles.sum().backward()
    torch.testing.assert_close(angles[0, 1].item(), math.pi / 2, atol=1e-5, rtol=0)
    assert torch.isfinite(turns.grad).all()


def test_angles_pass_gradcheck(frames):
    def angles(rotvec: torch.Tensor) -> torch.Tensor:
        return joint_angles(axis_angle_to_quaternion(rotvec), frames)

    generator = torch.Generator().manual_seed(0)
    rotvec = 0.5 * torch.randn(2, 15, 3, generator=generator, dtype=torch.float64)
    rotvec[0, 0] = 0
    assert torch.autograd.gradcheck(angles, rotvec.requires_grad_())
