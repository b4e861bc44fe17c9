"""The panel: each column shows what its title says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from fixtures.frames import PlainFrames
from s2hand.model.reconstructor import Reconstructor
from s2hand.training.build import make_module
from s2hand.training.panel import COLUMNS, panel, texture_views
from s2hand.types import HandBatch, HandCode

CELL = 112


@pytest.fixture(scope="module")
def reconstructor(smoke_base: DictConfig) -> Reconstructor:
    pl.seed_everything(0, verbose=False)
    return make_module(smoke_base).reconstructor.eval()


@pytest.fixture(scope="module")
def batch() -> HandBatch:
    """Two clips of two frames."""
    frames = PlainFrames(4, image_px=CELL)
    return HandBatch.stack([HandBatch.cat([frames[0], frames[1]]), HandBatch.cat([frames[2]] * 2)])


def cells(picture: np.ndarray) -> dict[str, np.ndarray]:
    """[row, cell, cell, 3] of every column, without the header."""
    body = picture[picture.shape[0] % CELL :].reshape(-1, CELL, len(COLUMNS), CELL, 3)
    return {name: body[:, :, i] for i, name in enumerate(COLUMNS)}


def test_a_row_per_frame_and_a_titled_column_per_view(
    reconstructor: Reconstructor, batch: HandBatch
) -> None:
    picture = panel(reconstructor, batch, CELL)
    assert picture.dtype == np.uint8
    height, width = picture.shape[:2]
    assert (height - 4 * CELL, width) == (18, 6 * CELL)
    header = picture[:18].reshape(18, len(COLUMNS), CELL, 3)
    assert all((header[:, i] < 128).any() for i in range(len(COLUMNS))), "every column has a title"


def test_columns_show_what_they_say(reconstructor: Reconstructor, batch: HandBatch) -> None:
    shown = cells(panel(reconstructor, batch, CELL))
    image = (255 * batch.image[0, 1]).round().permute(1, 2, 0).numpy()
    np.testing.assert_allclose(shown["input"][1], image, atol=1)
    prediction = reconstructor(batch, resolution=CELL)
    silhouette = (255 * prediction.render.silhouette[0, 1]).round().detach().numpy()
    for channel in range(3):
        np.testing.assert_allclose(shown["silhouette"][1, ..., channel], silhouette, atol=1)
    covered = silhouette > 250
    assert covered.any()
    assert not covered.all()
    drawn = prediction.render.image[0, 1].permute(1, 2, 0).detach().clamp(0, 1).numpy()
    np.testing.assert_allclose(shown["render"][1][covered], 255 * drawn[covered], atol=6)
    outside = silhouette == 0
    np.testing.assert_array_equal(shown["render"][1][outside], shown["input"][1][outside])


def changed(cell: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """[n, 2] x, y of pixels that were drawn on."""
    return np.argwhere(np.abs(cell.astype(int) - plain).max(-1) > 40)[:, ::-1]


def test_keypoints_and_joints_are_drawn_where_they_are(reconstructor: Reconstructor) -> None:
    frame = PlainFrames(1, image_px=CELL)[0]
    keypoints = torch.full((1, 21, 2), 60.0)
    confidence = torch.zeros(1, 21)
    confidence[0, 4] = 1
    keypoints[0, 4] = torch.tensor([180.0, 40.0])
    batch = replace(frame, keypoints=keypoints, confidence=confidence)[None]
    shown = cells(panel(reconstructor, batch, CELL))
    drawn = changed(shown["detections"][0], shown["input"][0])
    # Pixels of a 224 crop, drawn at half its size; the undetected 20 are not drawn.
    np.testing.assert_allclose(drawn.mean(0), [90 - 0.25, 20 - 0.25], atol=0.5)
    assert np.ptp(drawn, axis=0).max() <= 8
    joints = (reconstructor(batch).joints_2d[0, 0].detach().numpy() + 0.5) / 2 - 0.5
    drawn = changed(shown["projection"][0], shown["input"][0])
    inside = joints[((joints > 3) & (joints < CELL - 4)).all(-1)]
    assert len(inside) > 10
    assert np.linalg.norm(inside[:, None] - drawn, axis=-1).min(1).max() < 2.5


def test_the_texture_is_shown_without_the_light_from_both_sides(
    reconstructor: Reconstructor, batch: HandBatch
) -> None:
    hand = reconstructor(batch, render=False).hand.detach()
    code = hand.code

    def views(**changes: torch.Tensor) -> np.ndarray:
        return texture_views(reconstructor, replace(hand, code=replace(code, **changes)), CELL)

    plain = views(texture=torch.full_like(code.texture, 0.5))
    assert plain.shape == (4, CELL, CELL, 3)
    seen = plain.max(-1) > 0
    assert 0.1 < seen.mean() < 0.9
    # Colour 0.5 under white ambient light of strength 1 is 0.5, whatever light the code has.
    assert np.abs(plain[seen & (plain.max(-1) >= plain.max() - 2)].astype(int) - 128).max() <= 2
    dark = views(texture=torch.full_like(code.texture, 0.5), light=torch.zeros_like(code.light))
    np.testing.assert_array_equal(plain, dark)
    back, palm = views()[:, :, : CELL // 2], views()[:, :, CELL // 2 :]
    assert (back.max(-1) > 0).mean() > 0.1
    assert (palm.max(-1) > 0).mean() > 0.1
    assert not np.array_equal(back > 0, palm > 0)


def test_the_code_of_a_view_does_not_depend_on_where_the_hand_was(
    reconstructor: Reconstructor, batch: HandBatch
) -> None:
    hand = reconstructor(batch, render=False).hand.detach()
    moved: HandCode = replace(hand.code, translation=hand.code.translation + 5)
    first = texture_views(reconstructor, hand, 32)
    np.testing.assert_array_equal(
        first, texture_views(reconstructor, replace(hand, code=moved), 32)
    )
