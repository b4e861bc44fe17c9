"""The picture of a track: frames in order, the hand over them, the same hand turned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fixtures.hands import open_hands
from fixtures.tracks import write_track_folder
from s2hand.data.frames.sources import open_source
from s2hand.export.movie import MovieWriter
from s2hand.hand.mano import ManoHead
from s2hand.prediction.strip import hand_box, turned, write_strip


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


@given(
    st.tuples(st.floats(-1e7, 1e7), st.floats(-1e7, 1e7)),
    st.floats(0, 1e7),
    st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
)
def test_no_hand_makes_a_square_larger_than_its_picture(
    middle: tuple[float, float], extent: float, size: tuple[int, int]
) -> None:
    joints = np.array(middle) + np.linspace(-extent / 2, extent / 2, 21)[:, None]
    left, top, right, bottom = hand_box(joints, size)
    assert 1 <= right - left == bottom - top <= max(size)
    assert left <= size[0]
    assert right >= 0
    assert top <= size[1]
    assert bottom >= 0


def test_a_hand_in_the_picture_lies_in_the_middle_of_its_square() -> None:
    joints = np.array([[100, 80], [140, 120], *[[120, 100]] * 19])
    assert hand_box(joints, (320, 240)) == (90, 70, 150, 130)


def test_a_film_that_was_cut_short_leaves_its_last_cells_white(tmp_path: Path) -> None:
    folder = write_track_folder(tmp_path / "out", ["track.npz", "overlay.mp4"])
    with MovieWriter(tmp_path / "cut.mp4", 30, (224, 224)) as movie:
        for _ in range(4):
            movie.write(np.full((224, 224, 3), 90, np.uint8))
    (tmp_path / "cut.mp4").rename(folder / "overlay.mp4")
    frames = folder / "frames"
    frames.mkdir()
    for number in range(9):
        Image.new("RGB", (224, 224), (200, 0, 0)).save(frames / f"{number}.png")
    write_strip(tmp_path / "strip.png", open_source(frames), folder, columns=5)
    cells = np.asarray(Image.open(tmp_path / "strip.png")).reshape(3, 224, 5, 224, 3)
    shown = [(cells[1, :, column] != 255).any() for column in range(5)]
    assert shown[0]
    assert not shown[-1]
    assert (cells[0] != 255).any(axis=(0, 2, 3)).all()
