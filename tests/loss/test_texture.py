from __future__ import annotations

import pytest
import torch

from s2hand.loss.texture import TextureOutliers

ZERO = pytest.approx(0, abs=1e-12)


def test_one_colour_is_free(sample, edit):
    prediction, batch = sample(t=5)
    texture = torch.full_like(prediction.hand.code.texture, 0.3)
    assert TextureOutliers()(edit(prediction, texture=texture), batch).item() == ZERO


def test_entries_within_two_deviations_are_free(sample, edit):
    prediction, batch = sample()
    texture = torch.full_like(prediction.hand.code.texture, 0.5)
    texture[..., 0:388:2, :] = 0.6  # a quarter above and a quarter below: 1.41 deviations off
    texture[..., 1:388:2, :] = 0.4
    assert TextureOutliers()(edit(prediction, texture=texture), batch).item() == ZERO


def test_one_outlier_by_hand(sample, edit):
    prediction, batch = sample(b=1)
    texture = torch.zeros_like(prediction.hand.code.texture)
    texture[..., 100, 1] = 1
    # Only that entry is beyond 2 sigma of its channel, whose mean is 1 / 778.
    expected = (1 - 1 / 778) / (778 * 3)
    value = TextureOutliers()(edit(prediction, texture=texture), batch)
    assert value.item() == pytest.approx(expected)


def test_images_do_not_mix(sample, edit):
    prediction, batch = sample(b=2)
    texture = torch.zeros_like(prediction.hand.code.texture)
    texture[1] = 0.9
    assert TextureOutliers()(edit(prediction, texture=texture), batch).item() == ZERO
