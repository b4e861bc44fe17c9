"""Rendered hand videos with ground truth: smooth motion, one person per sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from s2hand.data.base import content_key
from s2hand.data.synthetic.backdrop import Occluder, backdrop
from s2hand.data.synthetic.detector import correlated_noise
from s2hand.data.synthetic.images import frames_of, hand_digest, on_cpu
from s2hand.data.synthetic.motion import moving_scene, smooth_path
from s2hand.data.synthetic.render import (
    CROP_PX,
    RenderedScenes,
    Renderer,
    SceneRenderer,
    Sensor,
    over,
)
from s2hand.data.synthetic.rendered import Block, RenderedDataset
from s2hand.data.synthetic.scene import SPLITS, NaturalHand, SceneSampler, Split, ViewRange

VERSION = 2
"""Raise it with every change that alters the frames, so that older caches are not read."""
_OCCLUDED_FRACTION = 0.5
_BACKDROP_MARGIN = 1.25


class SyntheticSequences(RenderedDataset):
    """Sequences of one hand each, moving between natural poses in front of a moving camera.

    Shape, skin, background and focal length are constant in a sequence. Finger joints and view
    follow slerp between natural poses and views, at varied speed and with pauses. Position, wrist,
    camera direction and, in half of the sequences, the light also move smoothly. In half of the
    sequences an object passes over the hand. Errors of the 2D detections are correlated in time;
    occasionally some or all joints are undetected for a few frames. Sequence i depends only on
    ``seed``, ``split``, ``frames_per_sequence`` and i.

    Args:
        hand: The hand model; copied to the CPU, so later changes have no effect.
        renderer: Draws the hand.
        split: ``train``, ``val`` or ``test``; they share no natural pose.
        sequences: Number of sequences.
        frames_per_sequence: Length of each, at 30 frames per second.
        seed: Seed of all random numbers.
        view: ``wide``, from all sides, or ``narrow``, within 60 degrees of the upright back.
        image_px: Side of the images; keypoints and intrinsics always refer to a 224 px crop.
        cache: True for ``$S2HAND_CACHE`` or ``~/.cache/s2hand``, a folder, or False to render a
            sequence when one of its frames is accessed.
        labels: Whether samples have 3D labels; the default is True for val and test.
    """

    needs_hand = True
    fps = 30.0

    def __init__(
        self,
        hand: NaturalHand,
        renderer: Renderer,
        split: Split = "train",
        sequences: int = 128,
        frames_per_sequence: int = 48,
        seed: int = 0,
        view: ViewRange = "wide",
        image_px: int = 128,
        cache: bool | str | Path = True,
        labels: bool | None = None,
    ) -> None:
        labels = split != "train" if labels is None else labels
        super().__init__(sequences * frames_per_sequence, image_px, CROP_PX, labels, cache)
        self.unit = self.chunk = frames_per_sequence
        hand = on_cpu(hand)
        self._hand = hand
        self._scenes = SceneSampler(hand, split, view)
        self._scene_renderer = SceneRenderer(hand, renderer, image_px)
        self._stream = [seed, SPLITS.index(split), frames_per_sequence]
        self._names = [
            f"{split}/{sequence:04d}/{frame:04d}"
            for sequence in range(sequences)
            for frame in range(frames_per_sequence)
        ]
        self._key = content_key(
            kind="sequences", version=VERSION, split=split, sequences=sequences, seed=seed,
            frames_per_sequence=frames_per_sequence, view=view, image_px=image_px,
            hand=hand_digest(hand),
        )  # fmt: skip

    @property
    def names(self) -> Sequence[str]:
        """``split/sequence/frame``."""
        return self._names

    @property
    def content_key(self) -> str:
        """Changes with the hand file and every argument except ``cache`` and ``labels``."""
        return self._key

    def segments(self) -> list[Sequence[int]]:
        """One range of frames per sequence."""
        starts = range(0, len(self), self.unit)
        return [range(start, start + self.unit) for start in starts]

    def render(self, frames: range) -> Block:
        """Render one whole sequence.

        Raises:
            ValueError: if the frames are not exactly one sequence.
        """
        if frames.start % self.unit or len(frames) != self.unit:
            raise ValueError(f"{frames} is not one whole sequence of {self.unit} frames")
        rng = np.random.default_rng([*self._stream, frames.start // self.unit])
        scenes = moving_scene(rng, self._scenes, self._hand, self.unit)
        shots = self._scene_renderer.render(scenes, frames_per_clip=self.unit)
        images, covers = _capture_sequence(rng, shots)
        return frames_of(shots, images, covers, correlated_noise(rng, self.unit))


def _capture_sequence(
    rng: np.random.Generator, shots: RenderedScenes
) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, 3, h, w] uint8 of a sequence and opacities [n, h, w] of its passing object."""
    frames, px = shots.opacity.shape[:2]
    # The background is larger than the image; the camera pans over it.
    background = backdrop(rng, round(_BACKDROP_MARGIN * px))
    room = background.shape[-1] - px
    pans = room * smooth_path(rng, frames, lambda: rng.random(2), (20, 60))
    passing = _passing_object(rng, shots)
    sensor, images, covers = Sensor.sample(rng), [], []
    for frame, (top, left) in enumerate(pans.astype(int)):
        window = background[:, top : top + px, left : left + px]
        picture = over(shots.colour[frame], shots.opacity[frame], window, premultiplied=True)
        cover = np.zeros((px, px), np.float32)
        if passing is not None:
            occluder, centres = passing
            colour, cover = replace(occluder, centre=tuple(centres[frame])).draw(px)
            picture = over(colour, cover, picture)
        images.append(sensor.capture(rng, picture))
        covers.append(cover)
    return np.stack(images), np.stack(covers)


def _passing_object(
    rng: np.random.Generator, shots: RenderedScenes
) -> tuple[Occluder, np.ndarray] | None:
    """An object that crosses the hand, and its centres [n, 2]; None in half of the sequences."""
    if rng.random() >= _OCCLUDED_FRACTION:
        return None
    frames = len(shots.joints_px)
    meeting = rng.integers(frames)
    joints = shots.joints_px[meeting] / CROP_PX
    x, y = joints[rng.integers(len(joints))]
    occluder = Occluder.sample(rng, (x, y), float(np.ptp(joints, axis=0).max()))
    heading = rng.uniform(0, 2 * np.pi)
    velocity = rng.uniform(0.03, 0.1) * np.array([np.cos(heading), np.sin(heading)])
    return occluder, np.array([x, y]) + (np.arange(frames) - meeting)[:, None] * velocity
