"""Pictures of hands with objects pasted over random joints, rendered and real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hydra
import numpy as np
from hydra import compose, initialize_config_module
from jaxtyping import Bool, Float, UInt8

from s2hand.data.frames.decode import read_video
from s2hand.data.synthetic.backdrop import Occluder, backdrop
from s2hand.data.synthetic.render import CROP_PX, SceneRenderer, Sensor, over
from s2hand.data.synthetic.scene import Scene, SceneSampler
from s2hand.training.build import make_reconstructor

RENDERED_PX = 384
_WINDOW = 3.0  # side of the square that objects are drawn in, as a multiple of the hand's extent

Picture = UInt8[np.ndarray, "h w 3"]
Points = Float[np.ndarray, "21 2"]


def rendered(count: int, seed: int) -> Iterator[tuple[Picture, Points]]:
    """Rendered hands of test poses, from all sides, and where their joints are, pixels."""
    with initialize_config_module("s2hand.conf", version_base="1.3"):
        cfg = compose("train", ["render.resolution=128"])
    hand = make_reconstructor(cfg).hand
    renderer = hydra.utils.instantiate(cfg.render)
    scenes, scene_renderer = (
        SceneSampler(hand, "test", "wide"),
        SceneRenderer(hand, renderer, RENDERED_PX),
    )
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        shots = scene_renderer.render(Scene.stack([scenes.sample(rng)]))
        layers = shots.colour[0], shots.opacity[0], backdrop(rng, RENDERED_PX)
        picture = Sensor.sample(rng).capture(rng, over(*layers, premultiplied=True))
        joints = (shots.joints_px[0] + 0.5) * RENDERED_PX / CROP_PX - 0.5
        yield np.ascontiguousarray(picture.transpose(1, 2, 0)), joints


def occlude(
    picture: Picture, joints: Points, rng: np.random.Generator, objects: int = 2
) -> tuple[Picture, Bool[np.ndarray, " 21"]]:
    """The picture with objects over some joints, and which joints they hide."""
    extent = float(np.ptp(joints, axis=0).max())
    side = round(_WINDOW * extent)
    corner = np.round((joints.min(0) + joints.max(0)) / 2 - side / 2).astype(int)
    height, width = picture.shape[:2]
    inner = np.pad(picture, ((side, side), (side, side), (0, 0)))
    rows, columns = (slice(start + side, start + 2 * side) for start in corner[::-1])
    window = inner[rows, columns].transpose(2, 0, 1) / np.float32(255)
    hidden = np.zeros((side, side), np.float32)
    for _ in range(objects):
        centre = joints[rng.integers(len(joints))] + rng.normal(0, 0.05 * extent, 2)
        x, y = (centre + 0.5 - corner) / side
        colour, opacity = Occluder.sample(rng, (x, y), extent / side).draw(side)
        window, hidden = over(colour, opacity, window), np.maximum(hidden, opacity)
    inner[rows, columns] = (255 * window + 0.5).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    x, y = np.round(joints - corner).astype(int).clip(0, side - 1).T
    return inner[side : side + height, side : side + width].copy(), hidden[y, x] > 0.5


def occluded_frames(
    video: Path, keypoints: Float[np.ndarray, "n 21 2"], block: int, seed: int, every: int = 1
) -> Iterator[tuple[int, Picture, Bool[np.ndarray, " 21"]]]:
    """Number, picture and hidden joints of every ``every``-th of a video's first n frames.

    Objects follow their joint for ``block`` frames and are then replaced.
    """
    numbers = range(0, len(keypoints), every)
    for number, image in zip(numbers, read_video(video, frozenset(numbers)), strict=True):
        rng = np.random.default_rng([seed, number // block])
        picture, hidden = occlude(np.asarray(image), keypoints[number], rng)
        yield number, picture, hidden
