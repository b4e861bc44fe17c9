"""The picture of a track: frames in order, the hand over them, the same hand turned."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures.hands import open_hands
from s2hand.cli.strip import turned
from s2hand.hand.mano import ManoHead


@pytest.fixture(scope="module")
def track() -> dict[str, np.ndarray]:
    hand, _ = open_hands(3)
    return {
        "vertices": hand.vertices[:, 0].numpy(),
        "texture": hand.code.texture[0, 0].numpy(),
        "light": hand.code.light[:, 0].numpy(),
        "faces": ManoHead("open").faces.numpy(),
    }


def cover(cell: np.ndarray) -> np.ndarray:
    return (cell < 250).any(-1)


def test_every_cell_holds_the_whole_hand_on_white(track: dict[str, np.ndarray]) -> None:
    for cell in turned(track, np.arange(3)):
        assert cell.shape == (224, 224, 3)
        assert 0.04 < cover(cell).mean() < 0.6
        edge = np.concatenate([cell[[0, -1]].reshape(-1, 3), cell[:, [0, -1]].reshape(-1, 3)])
        assert (edge == 255).all()


def test_the_hand_is_seen_from_the_side(track: dict[str, np.ndarray]) -> None:
    """A bar along z, the depth that the camera does not see, becomes wide."""
    z = np.linspace(-0.1, 0.1, 778)
    bar = np.stack([0.004 * np.cos(np.arange(778)), 0.004 * np.sin(np.arange(778)), z], -1)
    deep = track | {"vertices": bar[None].astype(np.float32) + np.float32([0, 0, 0.6])}
    covered = cover(turned(deep, np.array([0]))[0])
    width, height = np.ptp(np.flatnonzero(covered.any(0))), np.ptp(np.flatnonzero(covered.any(1)))
    assert width > 5 * height


def test_the_place_in_the_camera_does_not_matter(track: dict[str, np.ndarray]) -> None:
    moved = track | {"vertices": track["vertices"] + np.float32([0.2, -0.1, 0.5])}
    for here, there in zip(turned(track, np.arange(3)), turned(moved, np.arange(3)), strict=True):
        assert np.abs(here.astype(int) - there).mean() < 0.5
