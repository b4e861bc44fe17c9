"""Simulated 2D hand detections on rendered images: noisy keypoints and confidences.

Our definition. The standard deviation of a joint's error grows with occlusion and with the joint's
hardness. The confidence is computed from a noisy view of the same two causes, never from the error
itself, so the two correlate only as strongly as a detector could know.
"""

from __future__ import annotations

import numpy as np

from s2hand.geometry.skeleton import NUM_JOINTS

_NOISE_PARTS = (1, 2, 6 * 2, NUM_JOINTS * 2, NUM_JOINTS, NUM_JOINTS, NUM_JOINTS, NUM_JOINTS)
NOISE_SIZE = sum(_NOISE_PARTS)
"""Number of standard normal numbers behind the detections of one frame. They are independent for
images, correlated in time for sequences."""

_PERSISTENCE = (0.97, 0.8, 0.85, 0.7, 0.9, 0.85, 0.8, 0.6)
"""Correlation of each part with the next frame's in a sequence: image, shift, fingers, errors,
hardness, confusion, confidence and loss."""

_FRAMES_PER_LOSS = 60  # of a few joints, on average
_FRAMES_PER_DROP_OUT = 150  # of the whole hand
_CERTAIN = 10.0  # standard deviations

_FINGER = np.array([0, *(1 + k // 4 for k in range(NUM_JOINTS - 1))])
_NEIGHBOUR_FINGER = np.array([0, 2, 3, 2, 3, 4])  # the finger it is mistaken for; 0 is the wrist
_VISIBLE_SPREAD = 0.014  # of the hand's size in the image
_OCCLUDED_GROWTH = 3.0
_UNDETECTED_BELOW = 0.1
# Depth of a joint under its own skin (metres); a larger depth means that another part covers it.
_SKIN_DEPTH = np.full(NUM_JOINTS, 0.016)
_SKIN_DEPTH[[0, 1]] = 0.035, 0.028
_SKIN_DEPTH[[5, 9, 13, 17]] = 0.024


def joint_occlusion(
    joints_px: np.ndarray,
    joints_depth: np.ndarray,
    depth: np.ndarray,
    cover: np.ndarray,
    crop_px: int,
) -> np.ndarray:
    """Occlusion of every joint, 0 (visible) to 1.

    A joint is occluded by the hand itself where the rendered surface is clearly nearer to the
    camera, by an object where the cover is opaque, and outside the image.

    Args:
        joints_px: [n, 21, 2], pixels of the crop.
        joints_depth: [n, 21], metres.
        depth: [n, h, w], metres of the surface, 0 where there is none; any resolution of the crop.
        cover: [n, h', w'], opacity 0..1 of the object in front of the hand.
        crop_px: side of the crop.

    Returns:
        [n, 21].
    """
    surface = _sample(depth, joints_px, crop_px)
    gap = np.where(surface > 0, joints_depth - surface - _SKIN_DEPTH, -1.0)
    by_hand = np.clip(gap / 0.008, 0.0, 1.0)
    by_object = _sample(cover, joints_px, crop_px)
    outside = ((joints_px < -0.5) | (joints_px > crop_px - 0.5)).any(-1)
    return 1.0 - (1.0 - by_hand) * (1.0 - by_object) * ~outside


def correlated_noise(rng: np.random.Generator, frames: int) -> np.ndarray:
    """[frames, NOISE_SIZE] for :func:`detect` on a sequence: correlated errors and drop-outs.

    Every number is standard normal and follows a first-order autoregression in time. Occasionally
    one to three joints, or all 21, are undetected for one to five frames.
    """
    rho = np.repeat(_PERSISTENCE, _NOISE_PARTS)
    noise = rng.standard_normal((frames, NOISE_SIZE))
    for frame in range(1, frames):
        noise[frame] = rho * noise[frame - 1] + np.sqrt(1 - rho**2) * noise[frame]
    loss = noise[:, -NUM_JOINTS:]
    for _ in range(rng.poisson(frames / _FRAMES_PER_LOSS)):
        joint = rng.integers(NUM_JOINTS)
        loss[_short_run(rng, frames), joint : joint + rng.integers(1, 4)] = _CERTAIN
    for _ in range(rng.poisson(frames / _FRAMES_PER_DROP_OUT)):
        loss[_short_run(rng, frames)] = _CERTAIN
    return noise


def detect(
    joints_px: np.ndarray, occlusion: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Simulated detections of n frames.

    Args:
        joints_px: [n, 21, 2] true positions, pixels.
        occlusion: [n, 21] of :func:`joint_occlusion`.
        noise: [n, NOISE_SIZE], each standard normal.

    Returns:
        Keypoints [n, 21, 2] in pixels and confidences [n, 21] in 0..1; an undetected joint is
        (0, 0) with confidence 0.
    """
    n = len(joints_px)
    image, shift, finger, error, joint_hardness, confusion, cue, loss = np.split(
        noise, np.cumsum(_NOISE_PARTS)[:-1], axis=1
    )
    hardness = 0.4 * image + joint_hardness

    size = np.ptp(joints_px, axis=1).max(-1)[:, None]
    spread = _VISIBLE_SPREAD * size * np.exp(0.35 * hardness) * (1 + _OCCLUDED_GROWTH * occlusion)
    error = 0.8 * error.reshape(n, NUM_JOINTS, 2) + 0.6 * finger.reshape(n, 6, 2)[:, _FINGER]
    keypoints = joints_px + spread[..., None] * error + 0.004 * size[..., None] * shift[:, None]
    # Confuse fingers, more easily where the whole finger is occluded.
    mistaken = confusion > 2.8 - 0.8 * _finger_mean(occlusion)
    keypoints = np.where(mistaken[..., None], _on_neighbour(keypoints), keypoints)

    logit = 2.4 - 3.0 * np.clip(occlusion + 0.3 * cue, 0, 1) - 0.4 * hardness - 0.5 * cue
    confidence = 1 / (1 + np.exp(-logit))
    missing = (confidence < _UNDETECTED_BELOW) | (loss > 2.9 - 1.1 * occlusion)
    confidence = np.where(missing, 0.0, confidence)
    return np.where(missing[..., None], 0.0, keypoints), confidence


def _short_run(rng: np.random.Generator, frames: int) -> slice:
    """One to five consecutive frames."""
    start = int(rng.integers(frames))
    return slice(start, start + int(rng.integers(1, 6)))


def _sample(maps: np.ndarray, points_px: np.ndarray, crop_px: int) -> np.ndarray:
    """Values [n, p] of the maps [n, h, w] of the crop at the pixels nearest to [n, p, 2] points."""
    n, height, width = maps.shape
    scale = np.array([width, height]) / crop_px
    pixels = np.floor((points_px + 0.5) * scale).astype(np.int64)
    columns = np.clip(pixels[..., 0], 0, width - 1)
    rows = np.clip(pixels[..., 1], 0, height - 1)
    return maps[np.arange(n)[:, None], rows, columns]


def _finger_mean(values: np.ndarray) -> np.ndarray:
    """[n, 21] values replaced by the mean over each joint's finger (the wrist by itself)."""
    means = values[:, 1:].reshape(-1, 5, 4).mean(-1)
    return np.concatenate([values[:, :1], means], 1)[:, _FINGER]


def _on_neighbour(joints: np.ndarray) -> np.ndarray:
    """[n, 21, 2] joints replaced by the same joint of the neighbouring finger."""
    level = (np.arange(NUM_JOINTS) - 1) % 4
    source = np.where(_FINGER == 0, 0, 1 + 4 * (_NEIGHBOUR_FINGER[_FINGER] - 1) + level)
    return joints[:, source]
