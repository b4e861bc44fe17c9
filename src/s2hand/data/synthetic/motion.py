"""Smooth random motion of a hand before a camera (our definition).

Rotations (finger joints, view) follow slerp (Shoemake 1985) between key rotations, everything else
straight lines between key values. Legs take varied times, so speeds vary; some are followed by a
pause; and a Gaussian over time rounds the corners, so that velocities are continuous.
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
    View,
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
    """The scenes of one sequence of the sampler's hand, [frames, ...]."""
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
    """[frames, d] smooth motion through points drawn by ``key``.

    From one point to the next takes a time within ``duration`` (frames); now and then the motion
    pauses. Straight lines are smoothed by a Gaussian, so a path never leaves the convex hull of
    its points.
    """
    start, end, share = _legs(rng, frames, key, duration)
    return _rounded(start + share[:, None] * (end - start), frames, duration)


def smooth_rotations(
    rng: np.random.Generator,
    frames: int,
    key: Callable[[], Float[Tensor, "j 4"]],
    duration: tuple[int, int],
) -> Float[Tensor, "frames j 4"]:
    """Smooth motion through rotations drawn by ``key``, j at a time, as unit quaternions, float64.

    As :func:`smooth_path`, with slerp for lines; the Gaussian averages quaternions of one sign and
    normalises them. Around the middle of a leg, where it sees a single turn at constant speed, that
    leaves slerp as it is; at the keys it rounds the corners.
    """
    start, end, share = _legs(rng, frames, lambda: key().double().numpy(), duration)
    turns = slerp(*map(torch.from_numpy, (start, end, share[:, None, None]))).numpy()
    flips = (turns[1:] * turns[:-1]).sum(-1, keepdims=True) < 0
    turns[1:] *= np.cumprod(np.where(flips, -1, 1), axis=0)  # q and -q are one rotation
    mean = _rounded(turns, frames, duration)
    return torch.from_numpy(mean / np.linalg.norm(mean, axis=-1, keepdims=True))


def slerp(
    a: Float[Tensor, "*n 4"], b: Float[Tensor, "*n 4"], share: Float[Tensor, "*n 1"]
) -> Float[Tensor, "*n 4"]:
    """``a (a^-1 b)^share``: from a (0) to b (1) by the shorter turn at constant angular speed."""
    turn = quaternion_to_axis_angle(quaternion_multiply(quaternion_conjugate(a), b))
    return quaternion_multiply(a, axis_angle_to_quaternion(share * turn))


def finger_rotations(hand: NaturalHand, pose: Float[Tensor, "n p"]) -> Float[Tensor, "n 15 4"]:
    """Quaternions of the finger joints, each in its parent, of PCA coefficients."""
    rest = zero_code(pose.shape[1]).map(lambda x: x.expand(len(pose), *x.shape[1:]))
    return hand(replace(rest, pose=pose)).quaternions[:, 1:]


def pose_coefficients(
    hand: NaturalHand, quaternions: Float[Tensor, "n 15 4"]
) -> Float[Tensor, "n p"]:
    """PCA coefficients of finger joints' rotations.

    Slerp between two poses of a PCA subspace leaves it a little, so this is a least-squares
    projection of the joints' axis-angles. With 30 coefficients it turns a joint by 0.007 degrees
    (root mean square; 0.15 at most) half way between natural poses of the open hand (400 pairs).
    """
    axis_angle = quaternion_to_axis_angle(quaternions).flatten(-2).float()
    return hand.pca_coefficients(axis_angle)


def _legs(
    rng: np.random.Generator,
    frames: int,
    key: Callable[[], np.ndarray],
    duration: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every frame, with ``duration[1]`` more before and after: the points that its leg starts
    from and leads to [n, ...], and the share of the leg that is done [n]."""
    total = frames + 2 * duration[1]
    ends, points = [0.0], [key()]
    while ends[-1] < total:
        if rng.random() < 0.25:
            ends.append(ends[-1] + rng.uniform(*duration))
            points.append(points[-1])
        ends.append(ends[-1] + rng.uniform(*duration))
        points.append(key())
    clock, times, places = np.arange(total), np.array(ends), np.stack(points)
    leg = np.searchsorted(times, clock, side="right") - 1
    share = (clock - times[leg]) / np.diff(times)[leg]
    return places[leg], places[leg + 1], share


def _rounded(motion: np.ndarray, frames: int, duration: tuple[int, int]) -> np.ndarray:
    """[n, ...] smoothed over time by a Gaussian, without the frames before and after."""
    smooth = gaussian_filter1d(motion, sigma=duration[0] / 4, axis=0)
    return smooth[duration[1] : duration[1] + frames]


def _pose_key(
    rng: np.random.Generator, sampler: SceneSampler, hand: NaturalHand
) -> Float[Tensor, "15 4"]:
    return finger_rotations(hand, torch.from_numpy(sampler.pose(rng)).float()[None])[0]


def _view_key(rng: np.random.Generator, view: View) -> Float[Tensor, "1 4"]:
    """A turn of a wide view that was chosen for the sequence, or a narrow view itself."""
    if view == "wide":
        return axis_angle_to_quaternion(torch.from_numpy(rng.normal(0, 0.35, (1, 3))))
    return matrix_to_quaternion(torch.from_numpy(view_rotation(rng, view))[None])
