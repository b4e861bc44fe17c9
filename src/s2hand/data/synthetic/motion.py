"""Smooth random motion of a hand in front of a camera (our definition).

Rotations (finger joints, view) follow slerp (Shoemake 1985) between key rotations; all other values
are interpolated linearly between keys. Segments have random durations, so speeds vary; some are
followed by a pause. A Gaussian over time makes velocities continuous.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from s2hand.data.synthetic.scene import (
    NaturalHand,
    Scene,
    SceneSampler,
    ViewRange,
    view_rotation,
    zero_code,
)
from s2hand.geometry.rotation import (
    axis_angle_to_quaternion,
    matrix_to_quaternion,
    quaternion_conjugate,
    quaternion_multiply,
    quaternion_to_axis_angle,
    quaternion_to_matrix,
)


def moving_scene(
    rng: np.random.Generator, sampler: SceneSampler, hand: NaturalHand, frames: int
) -> Scene:
    """Scenes [frames, ...] of one sequence."""
    still = sampler.sample(rng)
    fingers = smooth_rotations(rng, frames, lambda: _pose_key(rng, sampler, hand), (8, 24))
    views = smooth_rotations(rng, frames, lambda: _view_key(rng, sampler.view), (15, 40))
    view = quaternion_to_matrix(views[:, 0]).float()
    steps = smooth_path(rng, frames, lambda: rng.normal(0, (0.05, 0.03, 0.03)), (10, 30))
    bends = smooth_path(rng, frames, lambda: rng.normal(0, (0.25, 0.1)), (10, 30))
    drift = rng.choice([0.0, 0.08]) * smooth_path(
        rng, frames, lambda: rng.standard_normal(11), (20, 60)
    )
    moved = {
        "fill": still.fill.item() * 0.85 * np.exp(steps[:, 0]),
        "centre": still.centre.numpy() + steps[:, 1:],
        "wrist_bend": np.clip(still.wrist_bend.numpy() + bends, -0.9, 0.9),
        "light": still.light.numpy() * np.exp(drift),
    }
    scenes = still.map(lambda x: x.expand(frames, *x.shape))
    tensors = {name: torch.from_numpy(value).float() for name, value in moved.items()}
    if sampler.view == "wide":
        view = view @ still.view
    return replace(scenes, pose=pose_coefficients(hand, fingers), view=view, **tensors)


def smooth_path(
    rng: np.random.Generator,
    frames: int,
    key: Callable[[], np.ndarray],
    duration: tuple[int, int],
) -> np.ndarray:
    """[frames, d] smooth motion through points sampled by ``key``.

    A segment takes a time within ``duration`` (frames); a quarter of the segments follow a pause.
    Linear interpolation is smoothed by a Gaussian, so a path stays in its points' convex hull.
    """
    start, end, fraction = _segments(rng, frames, key, duration)
    return _smoothed(start + fraction[:, None] * (end - start), frames, duration)


def smooth_rotations(
    rng: np.random.Generator,
    frames: int,
    key: Callable[[], Float[Tensor, "j 4"]],
    duration: tuple[int, int],
) -> Float[Tensor, "frames j 4"]:
    """Smooth motion through rotations sampled by ``key``, j at a time: unit quaternions, float64.

    Like :func:`smooth_path` with slerp; the Gaussian averages quaternions of equal sign and
    normalises them. This leaves slerp unchanged around the middle of a segment, where the Gaussian
    covers one rotation at constant speed, and smooths it at the keys.
    """
    start, end, fraction = _segments(rng, frames, lambda: key().double().numpy(), duration)
    path = slerp(*map(torch.from_numpy, (start, end, fraction[:, None, None]))).numpy()
    flips = (path[1:] * path[:-1]).sum(-1, keepdims=True) < 0
    path[1:] *= np.cumprod(np.where(flips, -1, 1), axis=0)  # q and -q are one rotation
    mean = _smoothed(path, frames, duration)
    return torch.from_numpy(mean / np.linalg.norm(mean, axis=-1, keepdims=True))


def slerp(
    a: Float[Tensor, "*n 4"], b: Float[Tensor, "*n 4"], fraction: Float[Tensor, "*n 1"]
) -> Float[Tensor, "*n 4"]:
    """``a (a^-1 b)^fraction``: the shorter rotation from a (0) to b (1) at constant speed."""
    rotation = quaternion_to_axis_angle(quaternion_multiply(quaternion_conjugate(a), b))
    return quaternion_multiply(a, axis_angle_to_quaternion(fraction * rotation))


def finger_rotations(hand: NaturalHand, pose: Float[Tensor, "n p"]) -> Float[Tensor, "n 15 4"]:
    """Quaternions of the finger joints, relative to their parents, from PCA coefficients."""
    rest = zero_code(pose.shape[1]).map(lambda x: x.expand(len(pose), *x.shape[1:]))
    return hand(replace(rest, pose=pose)).quaternions[:, 1:]


def pose_coefficients(
    hand: NaturalHand, quaternions: Float[Tensor, "n 15 4"]
) -> Float[Tensor, "n p"]:
    """PCA coefficients of the finger joints' rotations.

    Slerp between two poses of a PCA subspace leaves the subspace slightly, so this is a
    least-squares projection of the axis-angles. With 30 coefficients a joint changes by 0.007
    degrees (root mean square; maximum 0.15) half way between natural poses of the open hand (400
    pairs).
    """
    axis_angle = quaternion_to_axis_angle(quaternions).flatten(-2).float()
    return hand.pca_coefficients(axis_angle)


def _segments(
    rng: np.random.Generator,
    frames: int,
    key: Callable[[], np.ndarray],
    duration: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Start and end [n, ...] of every frame's segment, and the fraction [n] of it completed.

    There are ``duration[1]`` additional frames before and after, for the smoothing.
    """
    total = frames + 2 * duration[1]
    ends, points = [0.0], [key()]
    while ends[-1] < total:
        if rng.random() < 0.25:
            ends.append(ends[-1] + rng.uniform(*duration))
            points.append(points[-1])
        ends.append(ends[-1] + rng.uniform(*duration))
        points.append(key())
    clock, times, places = np.arange(total), np.array(ends), np.stack(points)
    segment = np.searchsorted(times, clock, side="right") - 1
    fraction = (clock - times[segment]) / np.diff(times)[segment]
    return places[segment], places[segment + 1], fraction


def _smoothed(motion: np.ndarray, frames: int, duration: tuple[int, int]) -> np.ndarray:
    """[n, ...] smoothed over time by a Gaussian, without the additional frames."""
    smooth = gaussian_filter1d(motion, sigma=duration[0] / 4, axis=0)
    return smooth[duration[1] : duration[1] + frames]


def _pose_key(
    rng: np.random.Generator, sampler: SceneSampler, hand: NaturalHand
) -> Float[Tensor, "15 4"]:
    return finger_rotations(hand, torch.from_numpy(sampler.pose(rng)).float()[None])[0]


def _view_key(rng: np.random.Generator, view: ViewRange) -> Float[Tensor, "1 4"]:
    """wide: a rotation relative to the sequence's view; narrow: a view."""
    if view == "wide":
        return axis_angle_to_quaternion(torch.from_numpy(rng.normal(0, 0.35, (1, 3))))
    return matrix_to_quaternion(torch.from_numpy(view_rotation(rng, view))[None])
