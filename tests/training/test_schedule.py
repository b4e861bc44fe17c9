"""Learning-rate schedules, held to hand-computed rates."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from s2hand.training.schedule import halve_at, warmup_cosine


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)


def rates(schedule: LRScheduler, steps: int) -> list[float]:
    """The rates of steps 0..steps-1."""
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        schedule.optimizer.step()
        schedule.step()
    return found


def test_warmup_rises_in_equal_steps_then_a_cosine_falls_to_the_floor() -> None:
    found = rates(warmup_cosine(optimizer(), 104, warmup_steps=4, floor=0.1), 105)
    assert found[:5] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])
    assert found[54] == pytest.approx(2 * (0.1 + 0.9 / 2))  # half of the cosine's 100 steps
    assert found[29] == pytest.approx(2 * (0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2))
    assert found[104] == pytest.approx(0.2)


def test_a_short_run_warms_up_for_a_tenth_of_it() -> None:
    found = rates(warmup_cosine(optimizer(), 20, warmup_steps=100), 4)
    assert found[:3] == pytest.approx([1.0, 2.0, 2.0])


@settings(max_examples=40)
@given(total=st.integers(2, 9999), warmup=st.integers(1, 999), floor=st.floats(0, 1))
def test_the_rate_never_leaves_its_range_and_ends_at_the_floor(
    total: int, warmup: int, floor: float
) -> None:
    schedule = warmup_cosine(optimizer(), total, warmup, floor)
    assert isinstance(schedule, LambdaLR)
    factor = schedule.lr_lambdas[0]
    assert all(0 < factor(step) <= 1 + 1e-9 for step in range(0, total, max(total // 7, 1)))
    assert factor(total) == factor(total + 3) == pytest.approx(floor)


def test_milestones_scale_with_the_length_of_the_run() -> None:
    # Milestones at 1/6 and 1/2 of the run, as 30 and 90 of 180 epochs are.
    found = rates(halve_at(optimizer(), 12, epochs=180, milestones=[30, 90]), 12)
    assert found == [2.0] * 2 + [1.0] * 4 + [0.5] * 6
