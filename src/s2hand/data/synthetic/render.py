"""Images of scenes: pose the hand in front of the camera, render, compose, add sensor noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from s2hand.data.synthetic.forearm import Forearm
from s2hand.data.synthetic.scene import NaturalHand, Scene, upright_rotation, zero_code
from s2hand.geometry.camera import project
from s2hand.geometry.rotation import matrix_to_axis_angle
from s2hand.types import Camera, Hand, HandCode, Render

CROP_PX = 224
"""Side of the crop that keypoints and intrinsics refer to, whatever the stored resolution."""
_USUAL_SIZE = 0.17  # metres across a hand in its image; fists are enlarged half the way to it
_MIN_DISTANCE = 0.2
_GRAIN_TABLE = 1 << 20


class Renderer(Protocol):
    """Draws textured, lit meshes; see :class:`s2hand.render.scene.HandRenderer`."""

    def __call__(
        self, hand: Hand, camera: Camera, faces: Tensor, resolution: int | None = None
    ) -> Render:
        """Draw every frame of ``[b, t, ...]`` at ``resolution`` pixels."""
        ...


@dataclass(frozen=True)
class RenderedScenes:
    """n rendered scenes, without background."""

    colour: Float[np.ndarray, "n 3 h w"]
    """Black outside the hand."""
    opacity: Float[np.ndarray, "n h w"]
    depth: Float[np.ndarray, "n h w"]
    """Metres to the nearest surface; 0 outside the hand."""
    joints: Float[np.ndarray, "n 21 3"]
    vertices: Float[np.ndarray, "n 778 3"]
    intrinsics: Float[np.ndarray, "n 3 3"]
    joints_px: Float[np.ndarray, "n 21 2"]


class SceneRenderer:
    """Renders scenes of one hand model at ``image_px`` pixels."""

    def __init__(self, hand: NaturalHand, renderer: Renderer, image_px: int) -> None:
        assert hand.natural_poses is not None
        self._hand, self._renderer, self._image_px = hand, renderer, image_px
        rest = hand(zero_code(hand.natural_poses.shape[1]))
        self._upright = upright_rotation(rest.joints[0])
        self._forearm = Forearm(hand.faces.numpy(), rest.vertices.shape[1])

    @torch.no_grad()
    def render(self, scenes: Scene, frames_per_clip: int = 1) -> RenderedScenes:
        """Render n scenes; the frames of a clip share the camera's distance and aim."""
        hand, intrinsics = self._pose(scenes, frames_per_clip)
        vertices, texture = self._forearm.extend(hand.vertices, hand.joints, scenes)
        code = HandCode(**{**vars(hand.code), "texture": texture})
        mesh = Hand(code, vertices, hand.joints, hand.quaternions)
        camera = Camera(intrinsics, CROP_PX)
        side = 2 * self._image_px  # four samples per pixel
        batch = mesh.map(lambda x: x[:, None]), camera.map(lambda x: x[:, None])
        render = self._renderer(*batch, self._forearm.faces, side).map(lambda x: x[:, 0])
        depth, silhouette = (x[:, ::2, ::2] for x in (render.depth, render.silhouette))
        depth = torch.where(silhouette > 0.5, depth / silhouette.clamp_min(0.5), 0)
        arrays = {
            "colour": _halve(render.image).clamp(0, 1),
            "opacity": _halve(render.silhouette),
            "depth": depth,
            "joints": hand.joints,
            "vertices": hand.vertices,
            "intrinsics": intrinsics,
            "joints_px": project(hand.joints, intrinsics),
        }
        return RenderedScenes(**{name: tensor.numpy() for name, tensor in arrays.items()})

    def _pose(self, scenes: Scene, frames_per_clip: int) -> tuple[Hand, Tensor]:
        """Posed hands in camera coordinates, [n, ...], and K [n, 3, 3]."""
        n = len(scenes.pose)
        code = HandCode(
            pose=scenes.pose,
            shape=scenes.shape,
            scale=torch.ones(n, 1),
            rotation=matrix_to_axis_angle(scenes.view @ self._upright),
            translation=torch.zeros(n, 3),
            texture=scenes.skin,
            light=scenes.light,
        )
        hand: Hand = self._hand(code)
        # The distance at which the hand fills its part of the crop; one for each clip.
        low, high = hand.vertices.amin(1), hand.vertices.amax(1)
        middle = _clip_mean((low + high) / 2, frames_per_clip)
        extent = _clip_mean((high - low)[:, :2].amax(-1), frames_per_clip)
        size = (extent + _USUAL_SIZE) / 2
        distance = (scenes.focal * size / (scenes.fill * CROP_PX)).clamp_min(_MIN_DISTANCE)
        # The translation that projects the middle of the hand to ``scenes.centre``.
        principal = (CROP_PX - 1) / 2
        aim = (scenes.centre * CROP_PX - 0.5 - principal) / scenes.focal[:, None]
        translation = torch.cat([aim * distance[:, None], distance[:, None]], -1) - middle
        intrinsics = torch.eye(3).repeat(n, 1, 1)
        intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = scenes.focal
        intrinsics[:, :2, 2] = principal
        return (
            Hand(
                HandCode(**{**vars(code), "translation": translation}),
                hand.vertices + translation[:, None],
                hand.joints + translation[:, None],
                hand.quaternions,
            ),
            intrinsics,
        )


def over(
    colour: np.ndarray, opacity: np.ndarray, below: np.ndarray, premultiplied: bool = False
) -> np.ndarray:
    """[3, h, w] ``colour`` of [h, w] ``opacity`` composited over the picture ``below``."""
    return below * (1 - opacity) + (colour if premultiplied else colour * opacity)


@dataclass(frozen=True)
class Sensor:
    """Exposure, blur and noise of one camera."""

    gain: np.ndarray
    """[3, 1, 1] exposure times tint."""
    blur: int
    """Passes of the binomial filter."""
    noise: float
    """Standard deviation."""

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Sensor:
        """A random camera."""
        return cls(
            np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.04, (3, 1, 1))).astype(np.float32),
            int(rng.choice([0, 1, 2], p=[0.6, 0.25, 0.15])),
            rng.uniform(0.002, 0.025),
        )

    def capture(self, rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
        """[3, h, w] in 0..1 to uint8, with noise from ``rng``."""
        for _ in range(self.blur):
            picture = _blur(_blur(picture, 1), 2)
        # A picture larger than the table repeats the table.
        start = rng.integers(max(_GRAIN_TABLE - picture.size, 1))
        grain = np.resize(_grain()[start : start + picture.size], picture.shape)
        levels = picture * (255 * self.gain)
        levels += np.float32(255 * self.noise) * grain
        levels += 0.5
        return np.clip(levels, 0, 255, out=levels).astype(np.uint8)


@lru_cache(maxsize=1)
def _grain() -> np.ndarray:
    """A fixed table of normal numbers; a picture takes a slice, as sampling is slow."""
    return np.random.default_rng(0).standard_normal(_GRAIN_TABLE, dtype=np.float32)


def _halve(images: Tensor) -> Tensor:
    """[..., 2 h, 2 w] to [..., h, w]: the mean of 2 x 2 pixels; any memory layout."""
    upper, lower = images[..., ::2, :], images[..., 1::2, :]
    return (upper[..., ::2] + upper[..., 1::2] + lower[..., ::2] + lower[..., 1::2]) / 4


def _clip_mean(values: Tensor, frames: int) -> Tensor:
    """Rows replaced by the mean over their clip of ``frames`` consecutive rows."""
    if frames == 1:
        return values
    return values.unflatten(0, (-1, frames)).mean(1).repeat_interleave(frames, 0)


def _blur(picture: np.ndarray, axis: int) -> np.ndarray:
    """Binomial filter (1, 2, 1) / 4 along an axis, edges repeated."""
    lines = np.arange(picture.shape[axis])
    before, after = np.maximum(lines - 1, 0), np.minimum(lines + 1, lines[-1])
    return 0.5 * picture + 0.25 * (picture.take(before, axis) + picture.take(after, axis))
