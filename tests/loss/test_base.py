from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s2hand.loss.base import detected_keypoints, weighted_mean

unit = st.floats(0, 1, width=32)


@settings(deadline=None)
@given(st.lists(st.tuples(unit, unit), min_size=1, max_size=6))
def test_weighted_mean_lies_between_the_values(pairs):
    values, weights = torch.tensor(pairs, dtype=torch.float64).unbind(-1)
    mean = weighted_mean(values, weights)
    if weights.sum() == 0:
        assert mean == 0
    else:
        assert values.min() - 1e-9 <= mean <= values.max() + 1e-9


def test_weighted_mean_by_hand():
    assert weighted_mean(torch.tensor([1.0, 5.0]), torch.tensor([3.0, 1.0])) == 2.0


def test_tiny_weights_still_average():
    tiny = torch.full((2,), 1e-18)
    assert weighted_mean(torch.tensor([1.0, 3.0]), tiny) == 2.0


def test_undetected_keypoints_become_zero(sample):
    _, batch = sample()
    confidence = batch.confidence.clone()
    confidence[:, :, 4] = 0
    keypoints = batch.keypoints.clone()
    keypoints[:, :, 4] = float("nan")
    cleaned = detected_keypoints(replace(batch, keypoints=keypoints, confidence=confidence))
    assert (cleaned[:, :, 4] == 0).all()
    assert torch.equal(cleaned[:, :, :4], batch.keypoints[:, :, :4])
