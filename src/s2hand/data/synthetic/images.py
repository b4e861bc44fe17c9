"""Single rendered hands with ground truth; no file and no download is needed."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from s2hand.data.base import content_key
from s2hand.data.synthetic.backdrop import Occluder, backdrop
from s2hand.data.synthetic.detector import NOISE_SIZE, detect, joint_occlusion
from s2hand.data.synthetic.render import (
    CROP_PX,
    RenderedScenes,
    Renderer,
    SceneRenderer,
    Sensor,
    over,
)
from s2hand.data.synthetic.rendered import Block, RenderedDataset
from s2hand.data.synthetic.scene import (
    SPLITS,
    NaturalHand,
    Scene,
    SceneSampler,
    Split,
    ViewRange,
    zero_code,
)

VERSION = 1
"""Raise it with every change that alters the frames, so that older caches are not read."""
_OCCLUDED_FRACTION = 0.35


class SyntheticHands(RenderedDataset):
    """Hands in natural poses in front of procedural backgrounds, with imperfect 2D detections.

    Frame i depends only on ``seed``, ``split`` and i, not on the size of the dataset, the number
    of workers or the order of access. The splits share no natural pose.

    Args:
        hand: The hand model; copied to the CPU, so later changes have no effect.
        renderer: Draws the hand.
        split: ``train``, ``val`` or ``test``.
        size: Number of frames.
        seed: Seed of all random numbers.
        view: ``wide``, from all sides, or ``narrow``, within 60 degrees of the upright back.
        image_px: Side of the images; keypoints and intrinsics always refer to a 224 px crop.
        cache: True for ``$S2HAND_CACHE`` or ``~/.cache/s2hand``, a folder, or False to render at
            every access.
        labels: Whether samples have 3D labels; the default is True for val and test.
    """

    needs_hand = True

    def __init__(
        self,
        hand: NaturalHand,
        renderer: Renderer,
        split: Split = "train",
        size: int = 32768,
        seed: int = 0,
        view: ViewRange = "wide",
        image_px: int = 128,
        cache: bool | str | Path = True,
        labels: bool | None = None,
    ) -> None:
        labels = split != "train" if labels is None else labels
        super().__init__(size, image_px, CROP_PX, labels, cache)
        hand = on_cpu(hand)
        self._scenes = SceneSampler(hand, split, view)
        self._scene_renderer = SceneRenderer(hand, renderer, image_px)
        self._stream = [seed, SPLITS.index(split)]
        self._names = [f"{split}/{index:06d}" for index in range(size)]
        self._key = content_key(
            kind="images", version=VERSION, split=split, size=size, seed=seed, view=view,
            image_px=image_px, hand=hand_digest(hand),
        )  # fmt: skip

    @property
    def names(self) -> Sequence[str]:
        """``split/index``."""
        return self._names

    @property
    def content_key(self) -> str:
        """Changes with the hand file and every argument except ``cache`` and ``labels``."""
        return self._key

    def render(self, frames: range) -> Block:
        """Render these frames, each from its own random generator."""
        rngs = [np.random.default_rng([*self._stream, index]) for index in frames]
        shots = self._scene_renderer.render(Scene.stack([self._scenes.sample(rng) for rng in rngs]))
        images, covers, noise = [], [], []
        for row, rng in enumerate(rngs):
            picture, cover = compose(rng, shots, row)
            images.append(Sensor.sample(rng).capture(rng, picture))
            covers.append(cover)
            noise.append(rng.standard_normal(NOISE_SIZE))
        return frames_of(shots, np.stack(images), np.stack(covers), np.stack(noise))


def compose(
    rng: np.random.Generator, shots: RenderedScenes, row: int
) -> tuple[np.ndarray, np.ndarray]:
    """One hand over a background, sometimes behind an object; the object's opacity."""
    px = shots.opacity.shape[-1]
    hand = shots.colour[row], shots.opacity[row]
    picture = over(*hand, backdrop(rng, px), premultiplied=True)
    if rng.random() >= _OCCLUDED_FRACTION:
        return picture, np.zeros((px, px), np.float32)
    joints = shots.joints_px[row] / CROP_PX
    size = float(np.ptp(joints, axis=0).max())
    x, y = joints[rng.integers(len(joints))] + rng.normal(0, 0.08 * size, 2)
    colour, opacity = Occluder.sample(rng, (x, y), size).draw(px)
    return over(colour, opacity, picture), opacity


def frames_of(
    shots: RenderedScenes, images: np.ndarray, covers: np.ndarray, noise: np.ndarray
) -> Block:
    """Arrays of a dataset from renders, images [n, 3, h, w], covers [n, h, w] and noise."""
    joints_px = shots.joints_px
    occlusion = joint_occlusion(joints_px, shots.joints[..., 2], shots.depth, covers, CROP_PX)
    keypoints, confidence = detect(joints_px, occlusion, noise)
    return {
        "image": images,
        "keypoints": keypoints,
        "confidence": confidence,
        "intrinsics": shots.intrinsics,
        "joints": shots.joints,
        "vertices": shots.vertices,
    }


def on_cpu(hand: NaturalHand) -> NaturalHand:
    """A copy of a hand model in main memory."""
    hand = copy.deepcopy(hand)
    return hand.cpu() if isinstance(hand, nn.Module) else hand


def hand_digest(hand: NaturalHand) -> str:
    """16 hex digits over the parts of a hand that change rendered frames or their labels."""
    assert hand.natural_poses is not None
    joints = hand(zero_code(hand.natural_poses.shape[1])).joints
    digest = hashlib.sha256(hand.fingerprint.encode())
    # Rounded to 0.1 mm: joint conventions differ by more, machines by less.
    digest.update((joints * 1e4).round().int().numpy().tobytes())
    for tensor in (hand.natural_poses, hand.albedo):
        digest.update(b"" if tensor is None else tensor.numpy().tobytes())
    return digest.hexdigest()[:16]
