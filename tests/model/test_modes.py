"""Modes of parts survive a look in evaluation mode."""

from __future__ import annotations

import pytest
from torch import nn

from s2hand.model.modes import evaluating, freeze_batch_norm


def test_every_part_gets_its_own_mode_back() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.BatchNorm2d(2))
    freeze_batch_norm(net)
    assert [part.training for part in net] == [True, False, False]
    with evaluating(net):
        assert not any(part.training for part in net.modules())
    assert net.training
    assert [part.training for part in net] == [True, False, False]


def test_an_error_gives_the_modes_back_too() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(RuntimeError, match="inside"):
        _fail_while_evaluating(net)
    assert net.training


def _fail_while_evaluating(net: nn.Module) -> None:
    with evaluating(net):
        raise RuntimeError("inside")
