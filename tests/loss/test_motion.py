from __future__ import annotations

import math

import pytest
import torch
from scipy.spatial.transform import Rotation, Slerp

from s2hand.geometry.rotation import axis_angle_to_quaternion, quaternion_multiply
from s2hand.loss.motion import (
    JointAcceleration,
    QuaternionGeodesic,
    QuaternionSlerp,
    QuaternionVelocity,
)

SQUARED = 180.0  # limit_deg: no angle is above it
QUATERNION_LOSSES = [QuaternionSlerp, QuaternionVelocity, QuaternionGeodesic]
ANY_PLACE = torch.tensor([0.4, -0.7, 0.5, 0.33], dtype=torch.float64)


def turning(angles: list[float], axis: tuple[float, float, float] = (0.0, 0.6, 0.8)):
    """[1, t, 16, 4]: every joint turns about one axis from an arbitrary orientation."""
    direction = torch.tensor(axis, dtype=torch.float64)
    vectors = torch.tensor(angles, dtype=torch.float64)[:, None] * direction
    start = (ANY_PLACE / ANY_PLACE.norm()).expand(len(angles), 4)
    turned = quaternion_multiply(axis_angle_to_quaternion(vectors), start)
    return turned[None, :, None].expand(1, len(angles), 16, 4).contiguous()


def evaluate(loss, q, sample, edit, t=None):
    prediction, batch = sample(b=1, t=t or q.shape[1])
    return loss(edit(prediction, quaternions=q), batch)


@pytest.mark.parametrize("loss_class", QUATERNION_LOSSES)
@pytest.mark.parametrize("flips", [(), (1,), (0, 1), (0, 2, 4)])
def test_a_still_hand_is_free_and_pulls_nowhere(loss_class, flips, sample, edit):
    q = turning([0.3] * 5)
    q[:, list(flips)] *= -1
    q.requires_grad_()
    value = evaluate(loss_class(), q, sample, edit)
    value.backward()
    assert value.item() < 1e-30
    assert q.grad.abs().max() < 1e-14


@pytest.mark.parametrize("speed", [1e-9, 0.01, 0.4, 1.5])
def test_steady_turning_is_free_for_all_but_the_baseline(speed, sample, edit):
    q = turning([speed * i for i in range(5)])
    assert evaluate(QuaternionVelocity(SQUARED), q, sample, edit) == pytest.approx(0, abs=1e-25)
    geodesic = evaluate(QuaternionGeodesic(SQUARED), q, sample, edit).item()
    assert geodesic == pytest.approx(speed**2, rel=1e-6)
    if 4 * speed < math.pi:  # beyond, the shorter way between the outer frames is the other one
        assert evaluate(QuaternionSlerp(SQUARED), q, sample, edit) == pytest.approx(0, abs=1e-25)


@pytest.mark.parametrize("sign", [1, -1])
def test_one_frame_off_by_hand(sign, sample, edit):
    q = turning([0.0, 0.25, 0.3])  # 0.1 from the middle, 0.15
    q[:, 1] *= sign
    assert evaluate(QuaternionSlerp(SQUARED), q, sample, edit).item() == pytest.approx(0.1**2)
    # relative rotations 0.25 and 0.05
    assert evaluate(QuaternionVelocity(SQUARED), q, sample, edit).item() == pytest.approx(0.2**2)
    expected = (0.25**2 + 0.05**2) / 2
    assert evaluate(QuaternionGeodesic(SQUARED), q, sample, edit).item() == pytest.approx(expected)


def test_one_joint_of_sixteen(sample, edit):
    q = turning([0.0, 0.0, 0.0])
    q[:, :, 7] = turning([0.0, 0.2, 0.0])[:, :, 7]
    assert evaluate(QuaternionSlerp(SQUARED), q, sample, edit).item() == pytest.approx(0.2**2 / 16)


def test_slerp_averages_over_the_distances(sample, edit):
    # k = 1: frames 1, 2, 3 against their neighbours: -0.1, 0.2, -0.1; k = 2: frame 2: 0.2
    q = turning([0.0, 0.0, 0.2, 0.0, 0.0])
    expected = ((0.1**2 + 0.2**2 + 0.1**2) / 3 + 0.2**2) / 2
    assert evaluate(QuaternionSlerp(SQUARED), q, sample, edit).item() == pytest.approx(expected)


def test_slerp_on_random_rotations_agrees_with_scipy(sample):
    prediction, batch = sample(b=2, t=5)
    q = prediction.hand.quaternions
    means = []
    for k in (1, 2):
        squares = []
        for clip in q:
            for t in range(k, 5 - k):
                for joint in range(16):
                    before, now, after = (
                        Rotation.from_quat(clip[i, joint].numpy()[[1, 2, 3, 0]])
                        for i in (t - k, t, t + k)
                    )
                    middle = Slerp([0, 1], Rotation.concatenate([before, after]))(0.5)
                    squares.append((middle.inv() * now).magnitude() ** 2)
        means.append(sum(squares) / len(squares))
    assert QuaternionSlerp(SQUARED)(prediction, batch).item() == pytest.approx(sum(means) / 2)


@pytest.mark.parametrize("loss_class", QUATERNION_LOSSES)
@pytest.mark.parametrize("limit_deg", [6.0, 180.0])
@pytest.mark.parametrize("step", [math.pi - 1e-9, math.pi, math.pi + 1e-9])
def test_half_turns_are_finite(loss_class, limit_deg, step, sample, edit):
    q = turning([0.0, step, 0.1]).requires_grad_()
    value = evaluate(loss_class(limit_deg), q, sample, edit)
    value.backward()
    assert 0 < value <= math.pi**2 + 1e-9
    assert q.grad.isfinite().all()


def test_geodesic_near_pi_is_exact(sample, edit):
    for step in (math.pi - 1e-7, math.pi + 1e-7):
        value = evaluate(QuaternionGeodesic(SQUARED), turning([0.0, step]), sample, edit).item()
        assert value == pytest.approx((math.pi - 1e-7) ** 2, rel=1e-12)


@pytest.mark.parametrize("angle", [1e-6, 0.19, 0.2, 0.21, 1.0, 3.1])
def test_beyond_the_limit_the_cost_grows_linearly(angle, sample, edit):
    limit = 0.2
    loss = QuaternionGeodesic(math.degrees(limit))
    expected = angle**2 if angle <= limit else 2 * limit * angle - limit**2
    turn = torch.tensor(angle, dtype=torch.float64, requires_grad=True)
    axis = torch.tensor([0.0, 0.6, 0.8], dtype=torch.float64)
    q = axis_angle_to_quaternion(torch.stack([0 * turn, turn])[:, None] * axis)
    value = evaluate(loss, q[None, :, None].expand(1, 2, 16, 4), sample, edit)
    value.backward()
    assert value.item() == pytest.approx(expected)
    assert turn.grad.item() == pytest.approx(2 * min(angle, limit))


@pytest.mark.parametrize("limit_deg", [0.0, -1.0, 181.0])
def test_the_limit_is_an_angle(limit_deg):
    with pytest.raises(ValueError, match=rf"limit_deg={limit_deg}"):
        QuaternionSlerp(limit_deg)


def test_descent_restores_a_steady_turn(sample, edit):
    vectors = torch.tensor([0.0, 0.5, 0.3], dtype=torch.float64)[:, None].expand(3, 3).clone()
    vectors.requires_grad_()
    optimizer = torch.optim.SGD([vectors], lr=0.2)
    for _ in range(200):
        optimizer.zero_grad()
        q = axis_angle_to_quaternion(vectors)[None, :, None].expand(1, 3, 16, 4)
        evaluate(QuaternionSlerp(), q, sample, edit).backward()
        optimizer.step()
    middle = (vectors[0] + vectors[2]) / 2
    torch.testing.assert_close(vectors[1], middle, atol=1e-6, rtol=0)


def test_acceleration_by_hand(sample, edit):
    prediction, batch = sample(b=2, t=4)
    time = torch.arange(4, dtype=torch.float64).view(1, 4, 1, 1)
    steady = prediction.hand.joints[:, :1] + time * torch.tensor([0.01, 0.02, 0.03]).double()
    loss = JointAcceleration()
    assert loss(edit(prediction, joints=steady), batch).item() == pytest.approx(0, abs=1e-12)
    # A gravity of 2 mm / frame^2 on one joint of 21
    falling = steady.clone()
    falling[..., 4, 1] += 0.001 * time[..., 0, 0].square()
    value = loss(edit(prediction, joints=falling), batch).item()
    assert value == pytest.approx(0.002 / 21)
