from __future__ import annotations

import pytest
import torch

from s2hand.loss.shape import ScalePrior, ShapePrior


def test_shape_prior_by_hand(sample, edit):
    prediction, batch = sample(t=5)
    betas = torch.zeros_like(prediction.hand.code.shape)
    assert ShapePrior()(edit(prediction, shape=betas), batch) == 0
    betas[..., 3] = 2
    assert ShapePrior()(edit(prediction, shape=betas), batch).item() == pytest.approx(0.4)


def test_scale_prior_measures_the_middle_fingers_first_bone(sample, edit):
    prediction, batch = sample(b=2)
    joints = prediction.hand.joints.clone()
    joints[..., 9, :] = 0
    joints[0, ..., 10, :] = torch.tensor([0.0, 0.0282, 0.0])
    joints[1, ..., 10, :] = torch.tensor([0.012, 0.016, 0.0])  # 0.020: 0.0082 short
    value = ScalePrior(target_m=0.0282)(edit(prediction, joints=joints), batch)
    assert value.item() == pytest.approx(0.0082 / 2)


def test_scale_prior_refuses_a_target_without_length():
    with pytest.raises(ValueError, match="target_m=0"):
        ScalePrior(target_m=0)


def test_scale_prior_measures_the_hands_own_joints(sample):
    prediction, batch = sample()
    own = prediction.hand.joints.clone()
    own[..., 9, :] = 0
    own[..., 10, :] = torch.tensor([0.03, 0.0, 0.0])
    asked = []

    class Layer:
        def native_joints(self, hand, convention):
            asked.append((hand, convention))
            return own

    value = ScalePrior(0.0282, Layer())(prediction, batch)
    assert value.item() == pytest.approx(0.0018)
    assert asked == [(prediction.hand, batch.convention)]
