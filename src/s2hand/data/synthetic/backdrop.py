"""Procedural backgrounds of rendered hands, and objects that occlude them.

Pictures are float32 [3, h, w] in 0..1. All random numbers come from the given generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

Field = np.ndarray
"""[h, w], values of about 0..1."""


def backdrop(rng: np.random.Generator, px: int) -> np.ndarray:
    """A background of side ``px``: a pattern, shapes, uneven light, sometimes defocused."""
    # A smaller side, upsampled at the end, looks defocused.
    side = px // int(rng.choice([1, 2, 4], p=[0.3, 0.4, 0.3]))
    kind = rng.choice(5, p=[0.15, 0.25, 0.2, 0.15, 0.25])
    colours = palette(rng, 4)
    fields: list[Callable[[np.random.Generator, int], Field]] = [
        _gradient,
        noise_field,
        _blotches,
        _stripes,
        _room,
    ]
    picture = _colourise(fields[kind](rng, side), colours)
    for _ in range(rng.integers(0, 3) if kind < 4 else rng.integers(2, 7)):
        _draw_shape(rng, picture)
    light = 1 + rng.normal(0, 0.25) * (_gradient(rng, side) - 0.5)
    grain = rng.uniform(0, 0.06) * (noise_field(rng, side) - 0.5)
    picture = picture * light + grain
    if side != px:
        rows = _upsampling(side, px)
        picture = rows @ picture @ rows.T
    return np.clip(picture, 0, 1, dtype=np.float32)


@dataclass(frozen=True)
class Occluder:
    """A flat object in front of the hand; lengths are fractions of the picture's side."""

    centre: tuple[float, float]
    half_width: float
    half_height: float
    angle: float
    ellipse: bool
    colours: np.ndarray
    """[2, 3]"""
    texture_seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator, centre: tuple[float, float], size: float) -> Occluder:
        """A bar, box or ball near ``centre``, sized relative to a hand of ``size``."""
        bar = rng.random() < 0.4
        width = size * (rng.uniform(0.6, 1.5) if bar else rng.uniform(0.12, 0.32))
        height = size * (rng.uniform(0.04, 0.12) if bar else rng.uniform(0.12, 0.32))
        return cls(
            centre,
            width,
            height,
            rng.uniform(0, np.pi),
            bool(not bar and rng.random() < 0.5),
            palette(rng, 2),
            int(rng.integers(2**31)),
        )

    def draw(self, px: int) -> tuple[np.ndarray, np.ndarray]:
        """Colours [3, px, px] and opacity [px, px] with a soft edge of one pixel."""
        x, y = _local_axes(px, self.centre, self.angle)
        a, b = x / np.float32(self.half_width), y / np.float32(self.half_height)
        if self.ellipse:
            distance = (np.sqrt(a * a + b * b) - 1) * min(self.half_width, self.half_height)
        else:
            distance = np.maximum(
                (np.abs(a) - 1) * self.half_width, (np.abs(b) - 1) * self.half_height
            )
        opacity = np.clip(0.5 - distance * px, 0, 1)
        pattern = noise_field(np.random.default_rng(self.texture_seed), px)
        shade = 1.05 - 0.45 * np.clip(b * b, 0, 1)
        return np.clip(_colourise(pattern, self.colours) * shade, 0, 1), opacity


def palette(rng: np.random.Generator, count: int) -> np.ndarray:
    """[count, 3] matching colours: grey, muted, wood and skin tones, or vivid."""
    kind = rng.choice(4, p=[0.25, 0.35, 0.2, 0.2])
    if kind == 2:
        wood = np.exp(-rng.uniform(0.1, 1.2, (count, 1)) * np.array([0.55, 1.0, 1.4]))
        return np.clip(wood * rng.uniform(0.7, 1.1), 0, 1)
    grey = rng.uniform(0.05, 0.95, (count, 1))
    tint = rng.normal(0, 1, (1, 3)) + 0.7 * rng.normal(0, 1, (count, 3))
    return np.clip(grey + (0.02, 0.09, 0.0, 0.3)[kind] * tint, 0, 1)


def noise_field(rng: np.random.Generator, px: int) -> Field:
    """Value noise of four octaves with a random fall-off, rescaled to 0..1."""
    field = np.zeros((px, px), np.float32)
    falloff = rng.uniform(0.35, 0.9)
    finest = max(int(np.log2(px)) - int(rng.integers(2, 4)), 1)
    for octave, cells in enumerate(2 ** np.linspace(1, finest, 4).astype(int)):
        rows = _upsampling(int(cells), px)
        values = rng.random((cells, cells), dtype=np.float32) - 0.5
        field += falloff**octave * (rows @ values @ rows.T)
    low, high = field.min(), field.max()
    return (field - low) / max(high - low, 1e-6)


@lru_cache(maxsize=64)
def _upsampling(cells: int, px: int) -> np.ndarray:
    """[px, cells] smooth interpolation from ``cells`` values to ``px`` samples."""
    position = (np.arange(px) + 0.5) * cells / px - 0.5
    left = np.floor(position)
    fraction = position - left
    fraction = fraction * fraction * (3 - 2 * fraction)
    matrix = np.zeros((px, cells), np.float32)
    for offset, weight in ((0, 1 - fraction), (1, fraction)):
        column = np.clip(left + offset, 0, cells - 1).astype(int)
        np.add.at(matrix, (np.arange(px), column), weight)
    return matrix


@lru_cache(maxsize=8)
def _axes(px: int) -> tuple[np.ndarray, np.ndarray]:
    centres = ((np.arange(px) + 0.5) / px).astype(np.float32)
    return centres[None, :], centres[:, None]


def _local_axes(
    px: int, centre: tuple[float, float], angle: float
) -> tuple[np.ndarray, np.ndarray]:
    x, y = _axes(px)
    x, y = x - np.float32(centre[0]), y - np.float32(centre[1])
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cosine * x + sine * y, cosine * y - sine * x


def _colourise(field: Field, colours: np.ndarray) -> np.ndarray:
    """Map 0..1 through the colours, linearly between neighbours, in 256 steps."""
    stops, steps = np.linspace(0, 1, len(colours)), np.linspace(0, 1, 256)
    table = np.stack([np.interp(steps, stops, channel) for channel in colours.T])
    levels = np.clip(field * 255, 0, 255).astype(np.uint8)
    return table.astype(np.float32)[:, levels]


def _gradient(rng: np.random.Generator, px: int) -> Field:
    x, _ = _local_axes(px, (0.5, 0.5), rng.uniform(0, 2 * np.pi))
    return np.clip(0.5 + x * rng.uniform(0.5, 1.2), 0, 1)


def _blotches(rng: np.random.Generator, px: int) -> Field:
    levels = int(rng.integers(2, 6))
    return np.floor(noise_field(rng, px) * levels * 0.999) / max(levels - 1, 1)


def _stripes(rng: np.random.Generator, px: int) -> Field:
    x, y = _local_axes(px, (0.5, 0.5), rng.uniform(0, np.pi))
    frequency = rng.uniform(2, 9)
    warp = rng.uniform(0, 1.5) * noise_field(rng, px)
    wave = np.sin(2 * np.pi * frequency * x + warp)
    if rng.random() < 0.4:
        wave = wave * np.sin(2 * np.pi * frequency * y + warp)
    return 0.5 + 0.5 * np.clip(wave * float(rng.choice([1.0, 20.0])), -1, 1)


def _room(rng: np.random.Generator, px: int) -> Field:
    """A wall above a table or floor, each with its own gradient, and faint texture."""
    _, y = _local_axes(px, (0.5, rng.uniform(0.2, 0.9)), rng.normal(0, 0.25))
    wall = 0.25 + 0.2 * (_gradient(rng, px) - 0.5)
    floor = 0.75 + 0.3 * (_gradient(rng, px) - 0.5)
    edge = np.clip(0.5 + y * px * rng.uniform(0.1, 1), 0, 1)
    texture = rng.uniform(0.05, 0.4) * (noise_field(rng, px) - 0.5)
    return np.clip(wall + (floor - wall) * edge + texture, 0, 1)


def _draw_shape(rng: np.random.Generator, picture: np.ndarray) -> None:
    """Draw one shaded box or ellipse into the picture."""
    px = picture.shape[-1]
    half = rng.uniform(0.05, 0.35, 2)
    centre = (rng.uniform(-0.1, 1.1), rng.uniform(-0.1, 1.1))
    angle = rng.normal(0, 0.2) if rng.random() < 0.6 else rng.uniform(0, np.pi)
    x, y = _local_axes(px, centre, angle)
    a, b = x / np.float32(half[0]), y / np.float32(half[1])
    extent = np.sqrt(a * a + b * b) if rng.random() < 0.4 else np.maximum(np.abs(a), np.abs(b))
    opacity = np.clip(0.5 + (1 - extent) * np.float32(half.min() * px), 0, 1)
    shade = 1 + np.float32(rng.normal(0, 0.25)) * np.clip(a, -1, 1)
    picture += opacity * (palette(rng, 1)[0].astype(np.float32)[:, None, None] * shade - picture)
