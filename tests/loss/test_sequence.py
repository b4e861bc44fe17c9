from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from s2hand.loss.sequence import (
    ScaleConsistency,
    ShapeConsistency,
    TextureConsistency,
    window_deviation,
)

FIELDS = {TextureConsistency: "texture", ShapeConsistency: "shape", ScaleConsistency: "scale"}


@pytest.mark.parametrize("loss_class", FIELDS)
def test_one_hand_through_the_window_is_free(loss_class, sample, edit):
    prediction, batch = sample(b=2, t=5)
    values = getattr(prediction.hand.code, FIELDS[loss_class])
    same = values[:, :1].expand_as(values)  # clips may differ
    prediction = edit(prediction, **{FIELDS[loss_class]: same})
    assert loss_class()(prediction, batch).item() == pytest.approx(0, abs=1e-28)


@pytest.mark.parametrize("loss_class", FIELDS)
def test_reads_its_own_field_only(loss_class, sample):
    prediction, batch = sample(t=3)
    code = prediction.hand.code.map(lambda x: x.clone().requires_grad_())
    prediction = replace(prediction, hand=replace(prediction.hand, code=code))
    loss_class()(prediction, batch).backward()
    for name in ("pose", "shape", "scale", "texture", "light"):
        assert (getattr(code, name).grad is not None) == (name == FIELDS[loss_class])


def test_confidence_draws_the_mean(sample):
    values = torch.tensor([[[0.0], [1.0]]])
    confidence = torch.zeros(1, 2, 21)
    confidence[0, 0], confidence[0, 1] = 0.9, 0.3
    # mean 0.25: deviations 0.25 and 0.75
    value = window_deviation(values, confidence)
    assert value.item() == pytest.approx((0.25**2 + 0.75**2) / 2)


def test_a_window_without_detections_takes_the_plain_mean():
    values = torch.tensor([[[0.0], [1.0]], [[5.0], [5.0]]])
    confidence = torch.zeros(2, 2, 21)
    confidence[1] = 0.5
    assert window_deviation(values, confidence).item() == pytest.approx(0.25 / 2)


def test_is_the_variance_where_all_frames_are_sure():
    values = torch.rand(3, 4, 5, 2, generator=torch.Generator().manual_seed(0))
    expected = values.var(1, unbiased=False).mean()
    torch.testing.assert_close(window_deviation(values, torch.ones(3, 4, 21)), expected)
