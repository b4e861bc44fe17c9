from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from s2hand.geometry.rotation import axis_angle_to_quaternion, slerp_midpoint, squared_angle

vectors = st.lists(st.floats(-1.7, 1.7), min_size=3, max_size=3)  # turns below pi


def quaternion(vector: list[float]) -> torch.Tensor:
    return axis_angle_to_quaternion(torch.tensor(vector, dtype=torch.float64))


def scipy_rotation(q: torch.Tensor) -> Rotation:
    return Rotation.from_quat(q.numpy()[..., [1, 2, 3, 0]])


@settings(deadline=None)
@given(vectors, vectors)
def test_midpoint_agrees_with_scipy(first, second):
    a, b = quaternion(first), quaternion(second)
    angle = (scipy_rotation(a).inv() * scipy_rotation(b)).magnitude()
    if angle > math.pi - 1e-6:
        return  # both midpoints are right
    expected = Slerp([0, 1], Rotation.concatenate([scipy_rotation(a), scipy_rotation(b)]))(0.5)
    difference = scipy_rotation(slerp_midpoint(a, b)).inv() * expected
    assert difference.magnitude() < 1e-7


@settings(deadline=None)
@given(vectors, vectors, st.sampled_from([1, -1]), st.sampled_from([1, -1]))
def test_signs_do_not_matter(first, second, sign_a, sign_b):
    a, b = quaternion(first), quaternion(second)
    if (a * b).sum().abs() < 1e-6:
        return  # a turn of pi has two midpoints
    plain, flipped = slerp_midpoint(a, b), slerp_midpoint(sign_a * a, sign_b * b)
    torch.testing.assert_close((plain * flipped).sum().abs(), torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(squared_angle(sign_a * a, sign_b * b), squared_angle(a, b))


@settings(deadline=None)
@given(vectors, vectors)
def test_squared_angle_agrees_with_scipy(first, second):
    a, b = quaternion(first), quaternion(second)
    angle = (scipy_rotation(a).inv() * scipy_rotation(b)).magnitude()
    np.testing.assert_allclose(squared_angle(a, b).item(), angle**2, rtol=1e-7, atol=1e-13)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-6, 1e-4, 0.9999e-4, 1.0001e-4, 0.3, 3.1415])
def test_squared_angle_is_exact(angle):
    a = quaternion([0.2, -0.4, 0.1])
    turn = axis_angle_to_quaternion(torch.tensor([0.0, angle, 0.0], dtype=torch.float64))
    identity = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)
    assert squared_angle(identity, turn).item() == pytest.approx(angle**2, rel=1e-12, abs=1e-300)
    assert squared_angle(a, a).item() < 1e-30


@pytest.mark.parametrize("angle", [0.0, 1e-9, math.pi - 1e-9, math.pi])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_gradients_are_finite_everywhere(angle, sign):
    a = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64, requires_grad=True)
    turned = axis_angle_to_quaternion(torch.tensor([0.0, 0.0, angle], dtype=torch.float64))
    b = (sign * turned).detach().requires_grad_()
    (squared_angle(a, b) + slerp_midpoint(a, b).sum()).backward()
    assert a.grad.isfinite().all()
    assert b.grad.isfinite().all()


def test_midpoint_of_half_turns_lies_between():
    a = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)
    b = torch.tensor([0.0, 0, 1, 0], dtype=torch.float64)
    middle = slerp_midpoint(a, b)
    quarter = torch.full((), (math.pi / 2) ** 2, dtype=torch.float64)
    torch.testing.assert_close(squared_angle(a, middle), quarter)
    torch.testing.assert_close(squared_angle(middle, b), quarter)


def test_gradcheck():
    generator = torch.Generator().manual_seed(3)
    a, b = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
    a, b = (x / x.norm(dim=-1, keepdim=True) for x in (a, b))
    inputs = (a.requires_grad_(), b.requires_grad_())
    assert torch.autograd.gradcheck(slerp_midpoint, inputs)
    assert torch.autograd.gradcheck(squared_angle, inputs)
