from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s2hand.loss.bones import BoneOrientation, bone_directions


def test_is_zero_for_a_moved_and_scaled_copy(sample):
    prediction, batch = sample(t=5)
    batch = replace(batch, keypoints=3 * prediction.joints_2d + 50)
    assert BoneOrientation()(prediction, batch).item() == pytest.approx(0, abs=1e-20)


def test_one_bone_turned_by_a_right_angle(sample):
    prediction, batch = sample(b=1)
    # Joint 4, the thumb's tip, is a leaf: only the bone 3 -> 4 turns.
    keypoints = torch.stack([torch.arange(21.0), torch.zeros(21)], -1).double().expand(1, 1, 21, 2)
    joints = keypoints.clone()
    joints[..., 4, :] = joints[..., 3, :] + torch.tensor([0.0, 7.0], dtype=torch.float64)
    confidence = torch.ones_like(batch.confidence)
    confidence[..., 3], confidence[..., 4] = 0.5, 0.25
    prediction = replace(prediction, joints_2d=joints)
    batch = replace(batch, keypoints=keypoints, confidence=confidence)
    # |(1, 0) - (0, 1)|^2 = 2, times 0.5 * 0.25, over 20 bones.
    assert BoneOrientation()(prediction, batch).item() == pytest.approx(2 * 0.125 / 20)


def test_opposite_bones_reach_the_maximum(sample):
    prediction, batch = sample()
    batch = replace(
        batch, keypoints=-prediction.joints_2d, confidence=torch.ones_like(batch.confidence)
    )
    assert BoneOrientation()(prediction, batch).item() == pytest.approx(4)


@settings(deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(-300, 300))
def test_directions_know_no_scale_and_place(scale, shift):
    joints = (
        torch.rand(21, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 224
    )
    torch.testing.assert_close(bone_directions(scale * joints + shift), bone_directions(joints))


def test_a_bone_without_length_has_no_direction():
    joints = torch.zeros(21, 2, requires_grad=True)
    directions = bone_directions(joints)
    directions.sum().backward()
    assert (directions == 0).all()
    assert joints.grad.isfinite().all()
