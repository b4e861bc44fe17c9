"""Rotations against scipy, at the identity, near half turns and under gradcheck."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch import Tensor

from s2hand.geometry.rotation import (
    axis_angle_to_matrix,
    axis_angle_to_quaternion,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    quaternion_conjugate,
    quaternion_multiply,
    quaternion_to_axis_angle,
    quaternion_to_matrix,
)

# Exactly zero, inside and around the switch to the series at 1e-4, ordinary, and up to a half turn.
ANGLES = st.one_of(
    st.sampled_from([0.0, 1e-12, 0.99e-4, 1.01e-4, math.pi - 1e-4, math.pi - 1e-7]),
    st.floats(0, math.pi - 1e-6),
)
AXES = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1)


@st.composite
def rotation_vectors(draw: st.DrawFn) -> Tensor:
    axis = np.array(draw(AXES))
    return torch.tensor(draw(ANGLES) * axis / np.linalg.norm(axis))


def quaternion_of(rotvec: Tensor) -> Tensor:
    """scipy's, as (w, x, y, z)."""
    return torch.from_numpy(np.roll(Rotation.from_rotvec(rotvec.numpy()).as_quat(), 1, -1))


@given(rotation_vectors())
def test_quaternions_and_matrices_are_scipys(rotvec: Tensor) -> None:
    q = axis_angle_to_quaternion(rotvec)
    torch.testing.assert_close(q, quaternion_of(rotvec), atol=1e-12, rtol=0)
    matrix = torch.from_numpy(Rotation.from_rotvec(rotvec.numpy()).as_matrix())
    torch.testing.assert_close(axis_angle_to_matrix(rotvec), matrix, atol=1e-12, rtol=0)
    torch.testing.assert_close(matrix_to_quaternion(matrix).abs(), q.abs(), atol=1e-9, rtol=0)


@given(rotation_vectors())
def test_round_trips(rotvec: Tensor) -> None:
    q = axis_angle_to_quaternion(rotvec)
    torch.testing.assert_close(quaternion_to_axis_angle(q), rotvec, atol=1e-9, rtol=0)
    torch.testing.assert_close(quaternion_to_axis_angle(-q), rotvec, atol=1e-9, rtol=0)
    matrix = quaternion_to_matrix(q)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3).double(), atol=1e-12, rtol=0)
    assert torch.linalg.det(matrix) == pytest.approx(1)
    torch.testing.assert_close(matrix_to_axis_angle(matrix), rotvec, atol=1e-7, rtol=0)


@pytest.mark.parametrize("axis", range(3))
def test_half_turns_use_every_branch(axis: int) -> None:
    rotvec = torch.zeros(3, dtype=torch.float64)
    rotvec[axis] = math.pi
    recovered = matrix_to_axis_angle(axis_angle_to_matrix(rotvec))
    torch.testing.assert_close(recovered.abs(), rotvec, atol=1e-9, rtol=0)


def test_more_than_a_half_turn_becomes_the_shorter_one() -> None:
    rotvec = torch.tensor([0.0, 1.5 * math.pi, 0.0])
    recovered = quaternion_to_axis_angle(axis_angle_to_quaternion(rotvec))
    torch.testing.assert_close(recovered, torch.tensor([0.0, -0.5 * math.pi, 0.0]))


@given(rotation_vectors(), rotation_vectors())
def test_products_compose_and_conjugates_invert(a: Tensor, b: Tensor) -> None:
    p, q = axis_angle_to_quaternion(a), axis_angle_to_quaternion(b)
    both = quaternion_to_matrix(quaternion_multiply(p, q))
    torch.testing.assert_close(both, axis_angle_to_matrix(a) @ axis_angle_to_matrix(b))
    identity = quaternion_multiply(p, quaternion_conjugate(p))
    torch.testing.assert_close(identity, torch.tensor([1.0, 0, 0, 0]).double())


@pytest.mark.parametrize("angle", [0.0, 1e-6, 0.5, 3.0])
def test_gradients_are_exact_at_and_near_the_identity(angle: float) -> None:
    axis = torch.tensor([0.6, -0.48, 0.64], dtype=torch.float64)
    rotvec = (angle * axis).requires_grad_()
    assert torch.autograd.gradcheck(axis_angle_to_matrix, rotvec)
    assert torch.autograd.gradcheck(axis_angle_to_quaternion, rotvec)
    assert torch.autograd.gradcheck(
        lambda x: quaternion_to_axis_angle(axis_angle_to_quaternion(x)), rotvec
    )


def test_the_gradient_at_the_identity_is_finite_and_one_half() -> None:
    rotvec = torch.zeros(3, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(axis_angle_to_quaternion, rotvec)
    torch.testing.assert_close(jacobian, torch.cat([torch.zeros(1, 3), 0.5 * torch.eye(3)]))


def test_leading_dimensions_are_free() -> None:
    rotvec = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    matrix = axis_angle_to_matrix(rotvec)
    assert matrix.shape == (2, 5, 3, 3)
    torch.testing.assert_close(matrix[1, 3], axis_angle_to_matrix(rotvec[1, 3]))
    assert matrix_to_quaternion(matrix).shape == (2, 5, 4)
