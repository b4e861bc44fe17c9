"""Learning-rate schedules: functions of the optimizer and the number of steps of the run."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


def warmup_cosine(
    optimizer: Optimizer, total_steps: int, warmup_steps: int = 100, floor: float = 0.02
) -> LRScheduler:
    """Linear warm-up, then cosine decay to ``floor`` times the rate (ours, for short runs)."""
    warmup_steps = min(warmup_steps, max(total_steps // 10, 1))

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)


def halve_at(
    optimizer: Optimizer, total_steps: int, epochs: int, milestones: list[int]
) -> LRScheduler:
    """Halve the rate at each milestone, in epochs out of ``epochs`` (public implementation).

    Milestones scale with the length of the run: 30 of 180 epochs is a sixth of the steps.
    """
    steps = [milestone / epochs * total_steps for milestone in milestones]
    return LambdaLR(optimizer, lambda step: 0.5 ** sum(step >= at for at in steps))
