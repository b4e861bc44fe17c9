"""One process of test_distributed: metrics of its share of seven sequences, as JSON on stdout."""

from __future__ import annotations

import json
import sys

import torch
from torch import Tensor, distributed

from s2hand.metric.joints import PointErrors
from s2hand.metric.motion import MotionErrors
from s2hand.metric.protocols import BenchmarkMetrics
from s2hand.metric.sequences import SequenceMetrics
from s2hand.types import Camera, Hand, HandBatch, HandCode, Labels, Prediction


def evaluate(sequences: list[int]) -> dict[str, float]:
    """The metrics of these sequences, and of the other processes' where there are others."""
    generator = torch.Generator().manual_seed(0)
    true = 0.1 * torch.randn(7, 5, 21, 3, generator=generator, dtype=torch.float64)
    noise = 0.02 * torch.randn(7, 5, 21, 3, generator=generator, dtype=torch.float64)
    points, motion, video = PointErrors(), MotionErrors(), SequenceMetrics()
    video.segments = [range(5 * i, 5 * i + 5) for i in range(7)]
    meshes = 0.1 * torch.randn(7, 5, 778, 3, generator=generator, dtype=torch.float64)
    near = 0.004 * torch.randn(7, 5, 778, 3, generator=generator, dtype=torch.float64)
    benchmark = BenchmarkMetrics("ho3d")
    for i in sequences:
        benchmark.update(true[i] + noise[i], true[i], meshes[i, :1] + near[i, :1], meshes[i, :1])
        points.update(true[i] + noise[i], true[i])
        motion.update(true[i : i + 1] + noise[i : i + 1], true[i : i + 1])
        for t in range(5):
            video.update(*frame(5 * i + t, (true + noise)[i, t], true[i, t]))
    metrics = (points, motion, video, benchmark)
    return {name: value.item() for m in metrics for name, value in m.compute().items()}


def frame(index: int, joints: Tensor, truth: Tensor) -> tuple[Prediction, HandBatch]:
    """One frame as a batch, its codes a function of its index."""
    sizes = {"pose": 30, "shape": 10, "scale": 1, "rotation": 3, "translation": 3, "light": 11}
    values = {name: torch.full((1, 1, size), float(index)) for name, size in sizes.items()}
    code = HandCode(**values, texture=torch.full((1, 1, 778, 3), float(index)))
    vertices = torch.zeros(1, 1, 778, 3)
    hand = Hand(code, vertices, joints[None, None], torch.zeros(1, 1, 16, 4))
    batch = HandBatch(
        image=torch.zeros(1, 1, 3, 4, 4),
        keypoints=torch.zeros(1, 1, 21, 2),
        confidence=torch.ones(1, 1, 21),
        camera=Camera(torch.eye(3)[None, None]),
        index=torch.tensor([[index]]),
        labels=Labels(truth[None, None], vertices),
    )
    return Prediction(hand, torch.zeros(1, 1, 21, 2)), batch


if __name__ == "__main__":
    rank, store, splits = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    sys.stdout.write(json.dumps([evaluate(split[rank]) for split in splits]))
    distributed.destroy_process_group()
