"""Random scenes to render: a hand, its skin, a camera and a light (our definition)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from s2hand.data.synthetic.backdrop import palette
from s2hand.types import HandCode, HandLayer, TensorTree

SPLITS = ("train", "val", "test")
Split = Literal["train", "val", "test"]
ViewRange = Literal["wide", "narrow"]
"""Camera directions to sample; see :func:`view_rotation`."""

_SPLIT_FRACTIONS = (0.8, 0.1, 0.1)
_UPRIGHT_DORSAL = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]).T
"""Columns: directions of the fingers, the thumb side and the back of an upright hand whose back
faces an OpenCV camera."""
_MEAN_SKIN = (200 / 256, 150 / 256, 150 / 256)
_DARKEST_SKIN = 0.01


class NaturalHand(HandLayer, Protocol):
    """A hand model with natural poses and a skin colour."""

    fingerprint: str
    """Identifies the hand file."""
    natural_poses: Tensor | None
    """[rows, p] PCA coefficients, or None if the file has none."""
    albedo: Tensor | None
    """[778, 3] RGB in 0..1, or None."""

    def pca_coefficients(self, axis_angle: Float[Tensor, "*n 45"]) -> Float[Tensor, "*n p"]:
        """PCA coefficients nearest to finger rotations (axis-angle, radians, MANO order)."""
        ...


@dataclass(frozen=True)
class Scene(TensorTree):
    """One hand, its skin, its camera and its light; any leading dimensions."""

    pose: Float[Tensor, "*n p"]
    """PCA coefficients."""
    shape: Float[Tensor, "*n 10"]
    """Betas."""
    view: Float[Tensor, "*n 3 3"]
    """Rotation from the upright dorsal view, camera axes."""
    focal: Float[Tensor, "*n"]
    """Pixels of the crop."""
    fill: Float[Tensor, "*n"]
    """Size of the hand, as a fraction of the crop's side."""
    centre: Float[Tensor, "*n 2"]
    """Image position of the middle of the hand, as a fraction of the crop's side."""
    skin: Float[Tensor, "*n 778 3"]
    """RGB albedo 0..1."""
    light: Float[Tensor, "*n 11"]
    """As in :class:`s2hand.types.HandCode`."""
    wrist_bend: Float[Tensor, "*n 2"]
    """Flexion and deviation between hand and forearm, radians."""
    forearm: Float[Tensor, "*n 3"]
    """Length in metres (0 = none); start of the sleeve as a fraction of the length; width of the
    sleeve as a multiple of the forearm's."""
    sleeve: Float[Tensor, "*n 3"]
    """RGB of the sleeve."""


class SceneSampler:
    """Samples scenes for one split; the splits share no row of the hand's natural poses.

    Raises:
        ValueError: if the split or view is unknown or the hand has no natural poses.
    """

    def __init__(self, hand: NaturalHand, split: Split, view: ViewRange) -> None:
        if split not in SPLITS or view not in ("wide", "narrow"):
            raise ValueError(
                f"split={split!r}, view={view!r}: split must be one of {', '.join(SPLITS)}, "
                "view must be 'wide' or 'narrow'"
            )
        if hand.natural_poses is None:
            raise ValueError(
                "this hand file has no natural poses (hands_coeffs), which synthetic hands need; "
                "use one that has them, such as hand=open"
            )
        poses = hand.natural_poses.cpu().numpy()
        self.poses = poses[split_rows(len(poses), split)]
        self.pose_spread = poses.std(0)
        self.view = view
        rest = zero_code(poses.shape[1])
        self._rest_vertices = hand(rest).vertices[0].cpu().numpy()
        albedo = np.tile(_MEAN_SKIN, (len(self._rest_vertices), 1))
        if hand.albedo is not None:
            albedo = hand.albedo.cpu().numpy()
        # A file may hold values outside 0..1; powers of negative ones are NaN.
        self._albedo = np.clip(albedo, _DARKEST_SKIN, 1)

    def sample(self, rng: np.random.Generator) -> Scene:
        """One scene, without leading dimensions."""
        forearm, sleeve = self._forearm(rng)
        values = {
            "pose": self.pose(rng),
            "shape": np.clip(rng.normal(0, 1, 10), -2.5, 2.5),
            "view": view_rotation(rng, self.view),
            "focal": np.clip(490 * np.exp(rng.normal(0, 0.3)), 220, 1130),
            "fill": rng.uniform(0.5, 0.88),
            "centre": np.clip(rng.normal(0.5, 0.03, 2), 0.42, 0.58),
            "skin": self._skin(rng),
            "light": _light(rng),
            "wrist_bend": np.clip(rng.normal(0, (0.4, 0.2)), -0.9, 0.9),
            "forearm": forearm,
            "sleeve": sleeve,
        }
        return Scene(**{k: torch.as_tensor(v, dtype=torch.float32) for k, v in values.items()})

    def pose(self, rng: np.random.Generator) -> np.ndarray:
        """[p] coefficients: a mix of two natural poses, mostly near one, plus noise."""
        first, second = self.poses[rng.integers(len(self.poses), size=2)]
        fraction = rng.beta(0.35, 0.35)
        noise = 0.08 * self.pose_spread * rng.standard_normal(len(first))
        return 1.1 * (fraction * first + (1 - fraction) * second) + noise

    def _skin(self, rng: np.random.Generator) -> np.ndarray:
        """[778, 3] albedo of the file with random contrast, tone, uneven regions and grain."""
        mean = self._albedo.mean(0)
        contrast = rng.uniform(0.6, 1.7)
        pigment = (1.1 * rng.random() ** 1.7 - 0.1) * np.array([0.75, 1.0, 1.15])
        tone = mean * np.exp(-pigment + rng.normal(0, 0.03, 3))
        waves = rng.normal(0, 25, (3, 4)), rng.uniform(0, 2 * np.pi, 4)
        regions = np.sin(self._rest_vertices @ waves[0] + waves[1])
        uneven = regions @ (rng.normal(0, 0.03, (4, 1)) + rng.normal(0, 0.01, (4, 3)))
        grain = rng.normal(0, 0.015, (len(uneven), 1))
        return np.clip(
            tone * ((self._albedo / mean) ** contrast + uneven + grain), _DARKEST_SKIN, 1
        )

    def _forearm(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        length = 0.35 if rng.random() < 0.88 else 0.0
        sleeve_start = rng.uniform(0.1, 0.6) if rng.random() < 0.4 else 1.0
        return np.array([length, sleeve_start, rng.uniform(1.08, 1.35)]), palette(rng, 1)[0]


def split_rows(rows: int, split: Split) -> np.ndarray:
    """Rows of a split, 80/10/10 of ``rows``, sorted; the same on every machine."""
    order = np.random.default_rng(0).permutation(rows)
    ends = np.round(np.cumsum(_SPLIT_FRACTIONS) * rows).astype(int)
    return np.sort(np.split(order, ends[:-1])[SPLITS.index(split)])


def view_rotation(rng: np.random.Generator, view: ViewRange) -> np.ndarray:
    """[3, 3] rotation from the upright dorsal view.

    ``wide``: from all sides; yaw about the hand's axis is uniform, pitch and roll are normal with
    30 and 45 degrees. ``narrow``: within 60 degrees of the upright dorsal view.
    """
    if view == "narrow":
        axis = rng.standard_normal(3)
        rotvec = np.pi / 3 * np.cbrt(rng.random()) * axis / np.linalg.norm(axis)
        return Rotation.from_rotvec(rotvec).as_matrix()
    yaw, pitch, roll = rng.uniform(0, 360), *rng.normal(0, (30, 45))
    return Rotation.from_euler("ZXY", [roll, pitch, yaw], degrees=True).as_matrix()


def upright_rotation(joints: Float[Tensor, "21 3"]) -> Float[Tensor, "3 3"]:
    """Rotation of a hand with these joints to the upright dorsal view."""
    fingers = joints[9] - joints[0]
    fingers = fingers / fingers.norm()
    thumb_side = joints[5] - joints[17]
    thumb_side = thumb_side - (thumb_side @ fingers) * fingers
    thumb_side = thumb_side / thumb_side.norm()
    back = torch.linalg.cross(fingers, thumb_side)
    frame = torch.stack([fingers, thumb_side, back], -1)
    return torch.from_numpy(_UPRIGHT_DORSAL).to(joints) @ frame.T


def zero_code(num_pca: int) -> HandCode:
    """One code of a white, ambient-lit hand at rest at the origin: fields [1, ...]."""
    sizes = {"pose": num_pca, "shape": 10, "rotation": 3, "translation": 3}
    zeros = {name: torch.zeros(1, size) for name, size in sizes.items()}
    light = torch.tensor([[1.0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 1]])
    return HandCode(scale=torch.ones(1, 1), texture=torch.ones(1, 778, 3), light=light, **zeros)


def _light(rng: np.random.Generator) -> np.ndarray:
    ambient, directional = rng.uniform(0.4, 0.85), rng.uniform(0.25, 0.85)
    tint = np.exp(rng.normal(0, 0.06, 3))
    colours = np.concatenate([tint * np.exp(rng.normal(0, 0.03, 3)), tint])
    direction = rng.standard_normal(3) + np.array([0, 0.6, 1.2])
    return np.concatenate([[ambient, directional], colours, direction / np.linalg.norm(direction)])
