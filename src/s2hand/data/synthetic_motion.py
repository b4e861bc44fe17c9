"""Smooth random motion of a hand before a camera (our definition)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from s2hand.data.synthetic_scene import Scene, SceneSampler, View, view_rotation
from s2hand.geometry.rotation import axis_angle_to_matrix, matrix_to_axis_angle


def moving_scene(rng: np.random.Generator, sampler: SceneSampler, frames: int) -> Scene:
    """The scenes of one sequence, [frames, ...]."""
    still = sampler.sample(rng)
    views = smooth_path(rng, frames, lambda: _view_key(rng, sampler.view), (15, 40))
    view = axis_angle_to_matrix(torch.from_numpy(views)).float()
    steps = smooth_path(rng, frames, lambda: rng.normal(0, (0.05, 0.03, 0.03)), (10, 30))
    bends = smooth_path(rng, frames, lambda: rng.normal(0, (0.25, 0.1)), (10, 30))
    drift = rng.choice([0.0, 0.08]) * smooth_path(
        rng, frames, lambda: rng.standard_normal(11), (20, 60)
    )
    moved = {
        "pose": smooth_path(rng, frames, lambda: sampler.pose(rng), (8, 24)),
        "fill": still.fill.item() * 0.85 * np.exp(steps[:, 0]),
        "centre": still.centre.numpy() + steps[:, 1:],
        "wrist_bend": np.clip(still.wrist_bend.numpy() + bends, -0.9, 0.9),
        "light": still.light.numpy() * np.exp(drift),
    }
    scenes = still.map(lambda x: x.expand(frames, *x.shape))
    tensors = {name: torch.from_numpy(value).float() for name, value in moved.items()}
    if sampler.view == "wide":
        view = view @ still.view
    return replace(scenes, view=view, **tensors)


def smooth_path(
    rng: np.random.Generator,
    frames: int,
    key: Callable[[], np.ndarray],
    duration: tuple[int, int],
) -> np.ndarray:
    """[frames, d] smooth motion through points drawn by ``key``.

    From one point to the next takes a time within ``duration`` (frames); now and then the motion
    pauses. Straight lines are smoothed by a Gaussian, so a path never leaves the convex hull of
    its points.
    """
    margin = duration[1]
    total = frames + 2 * margin
    times, points = [0.0], [key()]
    while times[-1] < total:
        if rng.random() < 0.25:
            times.append(times[-1] + rng.uniform(*duration))
            points.append(points[-1])
        times.append(times[-1] + rng.uniform(*duration))
        points.append(key())
    axes = [np.interp(np.arange(total), times, axis) for axis in np.stack(points, 1)]
    smooth = gaussian_filter1d(np.stack(axes, 1), sigma=duration[0] / 4, axis=0)
    return smooth[margin : margin + frames]


def _view_key(rng: np.random.Generator, view: View) -> np.ndarray:
    """[3] axis-angle: against a wide view chosen for the sequence, or a narrow view itself."""
    if view == "wide":
        return rng.normal(0, 0.35, 3)
    return matrix_to_axis_angle(torch.from_numpy(view_rotation(rng, view))).numpy()
