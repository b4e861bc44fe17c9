from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from s2hand.loss.supervised import JointsSupervised


def test_root_relative_forgets_the_place(sample, edit):
    prediction, batch = sample(t=5)
    offset = torch.tensor([0.0, 0.03, 0.04], dtype=torch.float64)
    prediction = edit(prediction, joints=batch.labels.joints + offset)
    assert JointsSupervised()(prediction, batch).item() == pytest.approx(0, abs=1e-12)
    absolute = JointsSupervised(root_relative=False)
    assert absolute(prediction, batch).item() == pytest.approx(0.05)


def test_one_joint_by_hand(sample, edit):
    prediction, batch = sample(b=1)
    joints = batch.labels.joints.clone()
    joints[..., 8, 0] += 0.021
    value = JointsSupervised()(edit(prediction, joints=joints), batch)
    assert value.item() == pytest.approx(0.001)


def test_without_labels_it_says_so(sample):
    prediction, batch = sample()
    with pytest.raises(ValueError, match=r"batch\.labels"):
        JointsSupervised()(prediction, replace(batch, labels=None))
