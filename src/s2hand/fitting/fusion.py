"""One hand through a video: one shape, scale and texture for all of it, and smoothing on demand.

Our definitions (O). The network speaks of every frame for itself; a track is one person's hand, so
what cannot change between frames is averaged with the frames' confidence as weight, and what moves
may be smoothed over time.
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
    """Which frames of a video make a track."""

    considered: range
    """Numbers, from 0, of the frames that were looked at: every n-th of the video."""
    numbers: Int[np.ndarray, " n"]
    """Those of them that have a hand, increasing."""
    rows: Int[np.ndarray, " n"]
    """The same frames as indices of their dataset."""
    times: Float[np.ndarray, " n"]
    """Seconds."""
    fps: float
    """Frames per second of the video, all frames counted."""

    @property
    def runs(self) -> list[slice]:
        """The rows of the track, split wherever a frame has no hand."""
        steps = self.numbers // self.considered.step
        cuts = [0, *(np.flatnonzero(np.diff(steps) != 1) + 1).tolist(), len(steps)]
        return [slice(first, end) for first, end in pairwise(cuts)]

    @property
    def gaps(self) -> Int[np.ndarray, "g 2"]:
        """Frames without a hand as [first, end) numbers; skipped ones in between belong to them."""
        step, total = self.considered.step, self.considered.stop
        missing = np.setdiff1d(self.considered, self.numbers) // step
        runs = np.split(missing, np.flatnonzero(np.diff(missing) != 1) + 1)
        found = [[run[0] * step, min((run[-1] + 1) * step, total)] for run in runs if len(run)]
        return np.array(found, np.int64).reshape(-1, 2)

    @property
    def missing(self) -> int:
        """How many of the frames that were looked at have no hand."""
        return len(self.considered) - len(self.numbers)


def frame_weights(confidence: Float[Tensor, "*n 21"]) -> Float[Tensor, "*n"]:
    """How much a frame counts in its track: the mean confidence of its keypoints, 0..1 (O)."""
    return confidence.mean(-1)


def fuse(frames: Iterable[tuple[HandCode, Float[Tensor, " b"]]]) -> HandCode:
    """One shape, scale and texture for a track, in constant memory but for 58 floats a frame.

    Each is the mean over the frames weighted by :func:`frame_weights`. A frame's translation T is
    multiplied by (fused scale) / (its scale), which leaves its projection where it was: depth and
    size cannot be told apart in a picture. The fused shape may still move it a little.

    Args:
        frames: batch after batch of codes [b, ...] (no time axis) and weights, on any device.

    Returns:
        The codes of all n frames, [n, ...], in main memory. Shape, scale and texture are views of
        one value.

    Raises:
        ValueError: if there is no frame, or none has weight.
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
    share = (torch.cat(weights) / total)[:, None]
    n = len(share)
    one = {
        name: (share * codes[name].double()).sum(0).to(codes[name]) for name in ("shape", "scale")
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

    Every frame becomes the mean of itself and of pairs of neighbours, k frames before and k after,
    weighted by a Gaussian in time (cut at 3 sigma) times ``weights``, for a pair the lesser of its
    two. So the mean time of what a frame is made of is its own, whatever the weights: a straight
    way and a turn about a fixed axis, both at constant speed, stay as they are. A neighbour whose
    partner is beyond an end of the run does not count; the first and last frame stay.

    Of translations it is the arithmetic mean, of the root's and each finger joint's rotations the
    chordal mean in SO(3) (Markley et al. 2007), which knows no difference between q and -q and
    turns with the camera. The smoothed finger rotations are brought back to pose coefficients by
    least squares, as the hand's principal components do not span every rotation.

    Args:
        code: codes of a track, [n, ...].
        hand: the layer that the codes are for.
        weights: trust in each frame, above 0.
        runs: which frames follow each other without a gap.
        sigma_frames: of the Gaussian; 0 leaves everything as it is.

    Raises:
        ValueError: if sigma is negative or not finite.
    """
    if not (math.isfinite(sigma_frames) and sigma_frames >= 0):
        raise ValueError(f"smooth_sigma={sigma_frames}: give frames, at least 0 (0 = none)")
    if sigma_frames == 0:
        return code
    trust = weights.double()
    turns = [axis_angle_to_quaternion(code.rotation.double())]
    fingers = hand.finger_rotations(code.pose.to(hand.faces.device)).cpu().double()
    turns += axis_angle_to_quaternion(fingers.unflatten(-1, (15, 3))).unbind(1)
    # One joint after the other: all 16 would take 4 kB a frame.
    turned = [_mean_turn(q, trust, runs, sigma_frames) for q in turns]
    root, *local = (quaternion_to_axis_angle(q) for q in turned)
    pose = hand.pca_coefficients(torch.cat(local, -1).to(hand.faces.device).float()).cpu()
    moved = _mean(code.translation.double(), trust, runs, sigma_frames)
    return replace(
        code,
        pose=pose.to(code.pose),
        rotation=root.to(code.rotation),
        translation=moved.to(code.translation),
    )


def _mean_turn(
    q: Float[Tensor, "n 4"], trust: Float[Tensor, " n"], runs: Sequence[slice], sigma: float
) -> Float[Tensor, "n 4"]:
    moment = (q[:, :, None] * q[:, None, :]).flatten(1)
    return principal_quaternion(_mean(moment, trust, runs, sigma).unflatten(1, (4, 4)))


def _mean(
    values: Float[Tensor, "n d"], trust: Float[Tensor, " n"], runs: Sequence[slice], sigma: float
) -> Float[Tensor, "n d"]:
    """The mean of each frame and the pairs of its own run that lie evenly about it."""
    share = trust[:, None]
    result, total = share * values, share.clone()
    for run in runs:
        v, w, summed, weight = values[run], share[run], result[run], total[run]
        for k in range(1, min(math.ceil(_REACH_SIGMAS * sigma), (len(v) - 1) // 2) + 1):
            factor = math.exp(-0.5 * (k / sigma) ** 2)
            pair = factor * torch.minimum(w[: -2 * k], w[2 * k :])
            summed[k:-k] += pair * (v[: -2 * k] + v[2 * k :])
            weight[k:-k] += 2 * pair
    return result / total
