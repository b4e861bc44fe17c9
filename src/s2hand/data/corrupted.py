"""Deliberately corrupted detections, to test models and refinements with a bad detector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from s2hand.data.base import HandDataset
from s2hand.data.wrapped import WrappedDataset
from s2hand.geometry.skeleton import NUM_JOINTS
from s2hand.types import HandBatch


class CorruptedDetections(WrappedDataset):
    """A dataset with noise and dropout in its 2D detections; pictures, crops and labels stay.

    Every detected keypoint is moved by Gaussian noise and keeps its confidence, as if the detector
    did not notice the error. Then it is dropped with a probability: (0, 0) with confidence 0. The
    corruption of a frame depends on ``seed`` and its index only. Levels are nested: more noise
    moves the same keypoints farther in the same direction, and a higher probability drops the same
    ones and more.

    Args:
        dataset: makes the frames when called.
        noise_px: standard deviation of the noise per coordinate, pixels of the crop.
        drop: probability 0..1 of dropping a keypoint, independently of the others.
        seed: of the corruption.

    Raises:
        ValueError: for a level out of range.
    """

    def __init__(
        self,
        dataset: Callable[[], HandDataset],
        noise_px: float = 0.0,
        drop: float = 0.0,
        seed: int = 0,
    ) -> None:
        if not (0 <= noise_px < float("inf") and 0 <= drop <= 1):
            raise ValueError(
                f"noise_px={noise_px}, drop={drop}: noise is in pixels, 0 or more; drop is a "
                "probability of 0 to 1"
            )
        super().__init__(dataset())
        self.noise_px, self.drop, self.seed = noise_px, drop, seed

    def __getitem__(self, index: int) -> HandBatch:
        """One frame, t = 1."""
        frame = super().__getitem__(index)
        # Every level draws the same numbers, so levels are nested.
        rng = np.random.default_rng([self.seed, self.position(index)])
        noise = torch.from_numpy(rng.standard_normal((NUM_JOINTS, 2))).to(frame.keypoints)
        dropped = torch.from_numpy(rng.random(NUM_JOINTS) < self.drop) & (frame.confidence > 0)
        found = (frame.confidence > 0)[..., None]
        moved = torch.where(found, frame.keypoints + self.noise_px * noise, frame.keypoints)
        return replace(
            frame,
            keypoints=torch.where(dropped[..., None], 0.0, moved),
            confidence=torch.where(dropped, 0.0, frame.confidence),
        )
