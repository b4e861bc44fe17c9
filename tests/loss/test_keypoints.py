from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from s2hand.loss.keypoints import Estimator2D, JointLocation, piecewise_distance


def moved(joints: torch.Tensor, joint: int, dx: float, dy: float) -> torch.Tensor:
    joints = joints.clone()
    joints[..., joint, :] += torch.tensor([dx, dy], dtype=joints.dtype)
    return joints


@pytest.mark.parametrize(
    ("d", "expected"), [(0, 0), (3, 0.9), (4.999999, 2.499999), (5, 2.5), (5.5, 3), (13, 10.5)]
)
def test_piecewise_distance_by_hand(d, expected):
    a = torch.zeros(21, 2, dtype=torch.float64)
    distance = piecewise_distance(a, a + torch.tensor([0.6 * d, 0.8 * d], dtype=torch.float64))
    torch.testing.assert_close(distance, torch.full((21,), expected, dtype=torch.float64))


def test_piecewise_distance_has_no_corner_at_five_pixels():
    d = torch.tensor([[5 - 1e-9, 0.0], [5 + 1e-9, 0.0]], dtype=torch.float64, requires_grad=True)
    piecewise_distance(d, torch.zeros_like(d)).sum().backward()
    torch.testing.assert_close(d.grad[0], d.grad[1])


def test_joint_location_is_zero_on_the_detections(sample):
    prediction, batch = sample(t=5)
    batch = replace(batch, keypoints=prediction.joints_2d)
    assert JointLocation().double()(prediction, batch) == 0


@pytest.mark.parametrize(("joint", "k"), [(0, 2.0), (8, 1.5), (20, 1.5), (7, 1.0)])
def test_joint_location_weighs_wrist_and_tips(joint, k, sample):
    prediction, batch = sample(b=1)
    confidence = torch.full_like(batch.confidence, 0.5)
    confidence[..., joint] = 0.8
    keypoints = moved(prediction.joints_2d, joint, 6, 8)  # 10 px: 7.5
    batch = replace(batch, keypoints=keypoints, confidence=confidence)
    ks = {0: 2.0, 4: 1.5, 8: 1.5, 12: 1.5, 16: 1.5, 20: 1.5}
    others = sum((0.5 * ks.get(j, 1.0)) ** 2 for j in range(21) if j != joint)
    expected = 7.5 * (0.8 * k) ** 2 / (others + (0.8 * k) ** 2)
    assert JointLocation().double()(prediction, batch).item() == pytest.approx(expected)


def test_joint_location_ignores_undetected_joints(sample):
    prediction, batch = sample()
    confidence = torch.ones_like(batch.confidence)
    confidence[..., 5] = 0
    keypoints = moved(prediction.joints_2d, 5, 1000, 0)
    batch = replace(batch, keypoints=keypoints, confidence=confidence)
    assert JointLocation().double()(prediction, batch) == 0


def test_estimator_sums_its_stages(sample):
    prediction, batch = sample(b=1)
    stages = (
        moved(batch.keypoints, 3, 3, 4),
        moved(batch.keypoints, 3, 6, 8),
    )
    prediction = replace(prediction, estimated_joints_2d=stages)
    confidence = torch.full_like(batch.confidence, 0.5)
    confidence[..., 3] = 1
    batch = replace(batch, confidence=confidence)
    expected = (5 + 10) * 1 / (20 * 0.25 + 1)
    assert Estimator2D()(prediction, batch).item() == pytest.approx(expected)


def test_estimator_is_zero_on_the_detections(sample):
    prediction, batch = sample(t=5)
    prediction = replace(prediction, estimated_joints_2d=(batch.keypoints, batch.keypoints))
    assert Estimator2D()(prediction, batch) == 0
