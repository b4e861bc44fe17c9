"""One process of test_distributed: metrics of its share of seven sequences, as JSON on stdout."""

from __future__ import annotations

import json
import sys

import torch
from torch import distributed

from s2hand.metric.joints import PointErrors
from s2hand.metric.motion import MotionErrors


def evaluate(sequences: list[int]) -> dict[str, float]:
    """The metrics of these sequences, and of the other processes' where there are others."""
    generator = torch.Generator().manual_seed(0)
    true = 0.1 * torch.randn(7, 5, 21, 3, generator=generator, dtype=torch.float64)
    noise = 0.02 * torch.randn(7, 5, 21, 3, generator=generator, dtype=torch.float64)
    points, motion = PointErrors(), MotionErrors()
    for i in sequences:
        points.update(true[i] + noise[i], true[i])
        motion.update(true[i : i + 1] + noise[i : i + 1], true[i : i + 1])
    return {name: value.item() for m in (points, motion) for name, value in m.compute().items()}


if __name__ == "__main__":
    rank, store, splits = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    sys.stdout.write(json.dumps([evaluate(split[rank]) for split in splits]))
    distributed.destroy_process_group()
