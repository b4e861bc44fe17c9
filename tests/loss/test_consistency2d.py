from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from s2hand.loss.consistency2d import Consistency2D


def test_reads_the_last_stage_and_no_detection(sample):
    prediction, batch = sample(t=5)
    stages = (prediction.joints_2d + 100, prediction.joints_2d)
    batch = replace(batch, keypoints=torch.full_like(batch.keypoints, float("nan")))
    assert Consistency2D()(replace(prediction, estimated_joints_2d=stages), batch) == 0


def test_mean_of_the_piecewise_distance(sample):
    prediction, batch = sample(b=1)
    estimate = prediction.joints_2d.clone()
    estimate[..., 2, 0] += 4  # 1.6
    estimate[..., 9, 1] -= 12.5  # 10
    prediction = replace(prediction, estimated_joints_2d=(estimate,))
    assert Consistency2D()(prediction, batch).item() == pytest.approx(11.6 / 21)


def test_moves_both_branches(sample):
    prediction, batch = sample()
    estimate = prediction.estimated_joints_2d[-1].clone().requires_grad_()
    joints = prediction.joints_2d.clone().requires_grad_()
    prediction = replace(prediction, joints_2d=joints, estimated_joints_2d=(estimate,))
    Consistency2D()(prediction, batch).backward()
    torch.testing.assert_close(estimate.grad, -joints.grad)
    assert estimate.grad.abs().sum() > 0
