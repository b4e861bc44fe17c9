"""One hand through a video: one shape, scale and texture, and optional smoothing over time.

Our definitions (O). The network predicts every frame independently. A track is one person's hand:
its shape, scale and texture are averaged over the frames, weighted by confidence, and its motion
can be smoothed over time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from s2hand.geometry.rotation import (
    axis_angle_to_quaternion,
    principal_quaternion,
    quaternion_to_axis_angle,
)
from s2hand.hand.mano import ManoHead
from s2hand.types import HandCode

_REACH_SIGMAS = 3


@dataclass(frozen=True)
class Span:
    """The frames of a video that make a track."""

    considered: range
    """Numbers, from 0, of the frames considered: every n-th of the video."""
    numbers: Int[np.ndarray, " n"]
    """Numbers of the considered frames with a hand, increasing."""
    rows: Int[np.ndarray, " n"]
    """Indices of the same frames in their dataset."""
    times: Float[np.ndarray, " n"]
    """Times of the same frames, seconds."""
    fps: float
    """Frames per second of the video, skipped frames included."""

    @property
    def runs(self) -> list[slice]:
        """Slices of the track, split at frames without a hand."""
        steps = self.numbers // self.considered.step
        cuts = [0, *(np.flatnonzero(np.diff(steps) != 1) + 1).tolist(), len(steps)]
        return [slice(first, end) for first, end in pairwise(cuts)]

    @property
    def gaps(self) -> Int[np.ndarray, "g 2"]:
        """Frames without a hand as [first, end) numbers, including skipped frames in between."""
        step, total = self.considered.step, self.considered.stop
        missing = np.setdiff1d(self.considered, self.numbers) // step
        runs = np.split(missing, np.flatnonzero(np.diff(missing) != 1) + 1)
        found = [[run[0] * step, min((run[-1] + 1) * step, total)] for run in runs if len(run)]
        return np.array(found, np.int64).reshape(-1, 2)

    @property
    def missing(self) -> int:
        """Number of considered frames without a hand."""
        return len(self.considered) - len(self.numbers)


def frame_weights(confidence: Float[Tensor, "*n 21"]) -> Float[Tensor, "*n"]:
    """The weight of a frame in its track: the mean confidence of its keypoints, 0..1 (O)."""
    return confidence.mean(-1)


def fuse(frames: Iterable[tuple[HandCode, Float[Tensor, " b"]]]) -> HandCode:
    """Give a track one shape, scale and texture: the means over its frames, weighted.

    A frame's translation T is multiplied by (fused scale) / (its scale), which keeps its
    projection: a picture does not separate depth from size. The fused shape may still move the
    projection slightly. Memory is constant except for 58 floats per frame.

    Args:
        frames: batches of codes [b, ...] (no time axis) and weights (:func:`frame_weights`), on
            any device.

    Returns:
        The codes of all n frames, [n, ...], on the CPU. Shape, scale and texture are views of one
        value.

    Raises:
        ValueError: there is no frame, or no frame has weight.

    Example:
        >>> frame = HandCode(
        ...     pose=torch.zeros(1, 30), shape=torch.zeros(1, 10), scale=torch.ones(1, 1),
        ...     rotation=torch.zeros(1, 3), translation=torch.tensor([[0.0, 0.0, 0.6]]),
        ...     texture=torch.ones(1, 778, 3), light=torch.zeros(1, 11),
        ... )
        >>> larger = replace(frame, scale=frame.scale * 2)
        >>> track = fuse([(frame, torch.tensor([3.0])), (larger, torch.tensor([1.0]))])
        >>> track.scale.flatten().tolist()
        [1.25, 1.25]
        >>> [round(z, 3) for z in track.translation[:, 2].tolist()]
        [0.75, 0.375]
    """
    texture, total = torch.zeros(778, 3, dtype=torch.float64), 0.0
    kept: list[dict[str, Tensor]] = []
    weights: list[Tensor] = []
    for code, weight in frames:
        code, weight = code.detach().to("cpu"), weight.detach().to("cpu", torch.float64)
        texture += torch.einsum("b,bvc->vc", weight, code.texture.double())
        total += float(weight.sum())
        kept.append({f.name: getattr(code, f.name) for f in fields(code) if f.name != "texture"})
        weights.append(weight)
    if total <= 0:
        raise ValueError("no frame of the track has a hand: nothing to average")
    codes = {name: torch.cat([part[name] for part in kept]) for name in kept[0]}
    fraction = (torch.cat(weights) / total)[:, None]
    n = len(fraction)
    one = {
        name: (fraction * codes[name].double()).sum(0).to(codes[name])
        for name in ("shape", "scale")
    }
    codes["translation"] = codes["translation"] * one["scale"] / codes["scale"]
    one["texture"] = (texture / total).to(codes["shape"])
    return HandCode(**codes | {k: v.expand(n, *v.shape) for k, v in one.items()})


def smooth(
    code: HandCode,
    hand: ManoHead,
    weights: Float[Tensor, " n"],
    runs: Sequence[slice],
    sigma_frames: float,
) -> HandCode:
    """Smooth rotations and translation over time, within runs of consecutive frames.

    Every frame becomes the weighted mean of itself and of pairs of neighbours, k frames before and
    k after. The weight is a Gaussian in time (cut at 3 sigma) times the frame's weight, for a pair
    the smaller of the two. Pairs keep the mean time of each frame, so translation and rotation
    about a fixed axis at constant speed do not change. Neighbours without a partner inside the run
    do not count; the first and last frame do not change.

    Translations are averaged arithmetically, the rotations of the root and of each finger joint by
    the chordal mean in SO(3) (Markley et al. 2007), which treats q and -q alike and commutes with
    camera rotations. Smoothed finger rotations are converted to pose coefficients by least squares,
    as the hand's principal components do not span all rotations.

    Args:
        code: codes of a track, [n, ...].
        hand: the layer that decodes the codes.
        weights: one weight per frame, above 0.
        runs: slices of consecutive frames without a gap.
        sigma_frames: standard deviation of the Gaussian, frames; 0 returns the codes unchanged.

    Raises:
        ValueError: sigma is negative or not finite.
    """
    if not (math.isfinite(sigma_frames) and sigma_frames >= 0):
        raise ValueError(f"smooth_sigma={sigma_frames}: give frames, at least 0 (0 = none)")
    if sigma_frames == 0:
        return code
    weights = weights.double()
    rotations = [axis_angle_to_quaternion(code.rotation.double())]
    fingers = hand.finger_rotations(code.pose.to(hand.faces.device)).cpu().double()
    rotations += axis_angle_to_quaternion(fingers.unflatten(-1, (15, 3))).unbind(1)
    # One joint at a time: all 16 together would take 4 kB a frame.
    smoothed = [_mean_rotation(q, weights, runs, sigma_frames) for q in rotations]
    root, *local = (quaternion_to_axis_angle(q) for q in smoothed)
    pose = hand.pca_coefficients(torch.cat(local, -1).to(hand.faces.device).float()).cpu()
    moved = _mean(code.translation.double(), weights, runs, sigma_frames)
    return replace(
        code,
        pose=pose.to(code.pose),
        rotation=root.to(code.rotation),
        translation=moved.to(code.translation),
    )


def _mean_rotation(
    q: Float[Tensor, "n 4"], weights: Float[Tensor, " n"], runs: Sequence[slice], sigma: float
) -> Float[Tensor, "n 4"]:
    moment = (q[:, :, None] * q[:, None, :]).flatten(1)
    return principal_quaternion(_mean(moment, weights, runs, sigma).unflatten(1, (4, 4)))


def _mean(
    values: Float[Tensor, "n d"], weights: Float[Tensor, " n"], runs: Sequence[slice], sigma: float
) -> Float[Tensor, "n d"]:
    """The weighted mean of each frame and the pairs of its run at equal distances from it."""
    column = weights[:, None]
    result, total = column * values, column.clone()
    for run in runs:
        # Views: the sums below change `result` and `total` in place.
        v, w, summed, weight = values[run], column[run], result[run], total[run]
        for k in range(1, min(math.ceil(_REACH_SIGMAS * sigma), (len(v) - 1) // 2) + 1):
            factor = math.exp(-0.5 * (k / sigma) ** 2)
            pair = factor * torch.minimum(w[: -2 * k], w[2 * k :])
            summed[k:-k] += pair * (v[: -2 * k] + v[2 * k :])
            weight[k:-k] += 2 * pair
    return result / total
