from __future__ import annotations

import pytest
import torch
from torch import nn

from s2hand.loss.pose import JointAngleLimits, PosePrior


def posed(prediction, edit, angles):
    """Quaternions from which the fake hand reads these angles at every joint."""
    quaternions = torch.zeros_like(prediction.hand.quaternions)
    quaternions[..., 1:, 1:] = torch.tensor(angles, dtype=torch.float64) / 2
    return edit(prediction, quaternions=quaternions)


@pytest.mark.parametrize(
    ("angles", "expected"),
    [
        ((0.0, 0.0, 0.0), 0.0),
        ((0.19, -0.19, 1.49), 0.0),  # limits: -0.1 0.2, -0.2 0.1, -0.3 1.5
        ((0.3, 0.0, 0.0), 0.1 / 3),
        ((-0.3, 0.0, 0.0), 0.2 / 3),
        ((0.0, 0.4, 0.0), 0.3 / 3),
        ((0.0, 0.0, 1.7), 2 * 0.2 / 3),
        ((0.3, 0.4, -0.4), (0.1 + 0.3 + 2 * 0.1) / 3),
    ],
)
def test_limits_by_hand(angles, expected, sample, edit, fake_hand):
    prediction, batch = sample(t=5)
    loss = JointAngleLimits(fake_hand).double()
    value = loss(posed(prediction, edit, angles), batch).item()
    assert value == pytest.approx(expected, abs=1e-7)  # the limits are float32


def test_the_hand_does_not_become_part_of_the_loss(fake_hand):
    class Layer(nn.Module):
        faces, angle_limits = fake_hand.faces, fake_hand.angle_limits

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def joint_angles(self, quaternions):
            return self.weight * quaternions[..., 1:, 1:]

    loss = JointAngleLimits(Layer())
    assert not list(loss.children())
    assert not list(loss.parameters())


def test_pose_prior_by_hand(sample, edit):
    prediction, batch = sample()
    pose = torch.zeros_like(prediction.hand.code.pose)
    assert PosePrior()(edit(prediction, pose=pose), batch) == 0
    pose[..., :15] = 2
    assert PosePrior()(edit(prediction, pose=pose), batch).item() == pytest.approx(2)
