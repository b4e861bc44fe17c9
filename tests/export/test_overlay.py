"""Overlays: where the ink falls, how strong it is, and that the input is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from s2hand.export.overlay import (
    JOINT_COLORS,
    blend_render,
    draw_detections,
    draw_note,
    draw_skeleton,
    paste_crop,
)

BLACK = np.zeros((60, 80, 3), np.uint8)


def only(joint: int, point: tuple[float, float]) -> np.ndarray:
    points = np.full((21, 2), np.nan)
    points[joint] = point
    return points


def centroid(image: np.ndarray) -> tuple[float, float]:
    weight = image.sum(-1).astype(float)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    return (columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum()


@pytest.mark.parametrize("point", [(30.0, 20.0), (30.25, 20.5), (41.8, 33.1)])
def test_a_joint_is_drawn_at_its_pixel_centre(point: tuple[float, float]) -> None:
    drawn = draw_skeleton(BLACK, only(8, point))
    assert centroid(drawn) == pytest.approx(point, abs=0.13)
    column, row = (round(x) for x in point)
    assert tuple(drawn[row, column]) == JOINT_COLORS[8]


def test_a_bone_joins_its_joints_in_its_fingers_colour_with_soft_edges() -> None:
    points = only(5, (10.0, 10.0))
    points[6] = (70.0, 40.0)
    drawn = draw_skeleton(BLACK, points, width_px=3)
    assert tuple(drawn[25, 40]) == JOINT_COLORS[6]
    assert tuple(drawn[40, 20]) == (0, 0, 0)
    levels = np.unique(drawn[..., 0])
    assert len(levels) > 4, "antialiased edges have in-between values"


def test_a_bone_without_one_of_its_joints_is_not_drawn() -> None:
    points = only(5, (10.0, 10.0))
    points[6] = (1e7, 1e7)
    np.testing.assert_array_equal(
        draw_skeleton(BLACK, points), draw_skeleton(BLACK, only(5, (10, 10)))
    )


def test_drawing_outside_the_image_changes_nothing_inside() -> None:
    for point in ((-40.0, -40.0), (200.0, 10.0), (10.0, 200.0)):
        np.testing.assert_array_equal(draw_skeleton(BLACK, only(3, point)), BLACK)
    np.testing.assert_array_equal(draw_skeleton(BLACK, np.full((21, 2), np.nan)), BLACK)
    assert draw_skeleton(BLACK, only(3, (0.0, 59.0)))[59, 0].any()


def test_the_input_is_left_alone() -> None:
    image = np.full((40, 40, 3), 77, np.uint8)
    draw_skeleton(image, only(0, (20, 20)))
    draw_detections(image, only(0, (20, 20)), np.ones(21))
    blend_render(image, np.ones((40, 40, 3)), np.ones((40, 40)))
    assert (image == 77).all()


def test_detections_are_as_strong_as_their_confidence() -> None:
    points = np.full((21, 2), 40.0)
    points[:, 1] = 30
    strength = []
    for confidence in (0.0, 0.5, 1.0):
        drawn = draw_detections(BLACK, points, np.eye(21)[12] * confidence)
        strength.append(drawn[30, 40].astype(float))
    np.testing.assert_array_equal(strength[0], 0)
    np.testing.assert_allclose(strength[1], 0.5 * strength[2], atol=1.5)
    np.testing.assert_allclose(strength[2], JOINT_COLORS[12], atol=1)


def test_a_render_is_laid_over_by_coverage_and_opacity() -> None:
    image = np.full((1, 3, 3), 100, np.uint8)
    silhouette = np.array([[0.0, 0.5, 1.0]])
    render = np.array([0.8, 0.4, 0.0]) * silhouette[..., None]
    blended = blend_render(image, render, silhouette, alpha=0.5)
    expected = 100 * (1 - 0.5 * silhouette[..., None]) + 0.5 * 255 * render
    np.testing.assert_allclose(blended, expected, atol=0.51)
    assert blended.dtype == np.uint8
    np.testing.assert_array_equal(blended[0, 0], 100)


@pytest.mark.parametrize("background", [0, 100, 255])
def test_a_pasted_edge_lies_between_hand_and_picture(background: int) -> None:
    y, x = np.mgrid[:64, :64]
    silhouette = np.clip(20.5 - np.hypot(x - 32, y - 32), 0, 1)
    render = np.array([0.6, 0.4, 0.2]) * silhouette[..., None]
    image = np.full((90, 120, 3), background, np.uint8)
    affine = np.array([[0.41, 0, -7.3], [0, 0.41, 2.2], [0, 0, 1]])
    pasted = paste_crop(image, render, silhouette, affine, 32, alpha=1.0).astype(int)
    low, high = np.sort([[background] * 3, [153, 102, 51]], axis=0)
    assert (pasted >= low - 2).all()
    assert (pasted <= high + 2).all()
    u, v = (15.75 + 7.3) / 0.41, (15.75 - 2.2) / 0.41  # where the crop's middle lies
    np.testing.assert_allclose(pasted[round(v), round(u)], [153, 102, 51], atol=1)
    radius = 10 / 0.41
    assert (pasted[round(v), round(u + radius + 2)] == background).all()


def test_a_crop_beside_the_picture_changes_nothing() -> None:
    image = np.full((20, 30, 3), 90, np.uint8)
    render, silhouette = np.ones((8, 8, 3)), np.ones((8, 8))
    affine = np.array([[1.0, 0, 500], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(paste_crop(image, render, silhouette, affine, 8), image)


def test_a_note_is_written_into_the_corner_of_a_copy() -> None:
    image = np.full((120, 200, 3), 128, np.uint8)
    noted = draw_note(image, "no hand")
    changed = (noted != image).any(-1)
    assert changed[:20, :80].sum() > 50
    assert not changed[30:].any()
    heights = [np.ptp(np.flatnonzero(changed.any(1)))]
    large = np.full((480, 800, 3), 128, np.uint8)
    heights.append(np.ptp(np.flatnonzero((draw_note(large, "no hand") != large).any((1, 2)))))
    assert heights[0] >= 7
    assert heights[1] > 1.5 * heights[0], "it grows with the picture"
    assert (image == 128).all()


def test_a_pasted_crop_is_at_its_place_and_smooth() -> None:
    y, x = np.mgrid[:32, :32]
    silhouette = np.clip(8.5 - np.hypot(x - 14, y - 17), 0, 1)
    affine = np.array([[0.41, 0, -7.3], [0, 0.41, 2.2], [0, 0, 1]])
    white = np.repeat(silhouette[..., None], 3, 2)
    pasted = paste_crop(np.zeros((90, 120, 3), np.uint8), white, silhouette, affine, 32, alpha=1.0)
    coverage = pasted[..., 0] / 255
    centre = [
        (coverage.sum(axis) @ np.arange(size)) / coverage.sum()
        for axis, size in ((0, 120), (1, 90))
    ]
    np.testing.assert_allclose(centre, [(14 + 7.3) / 0.41, (17 - 2.2) / 0.41], atol=0.05)
    assert np.abs(np.diff(coverage, axis=1)).max() < 0.6, "a crop's pixel is 2.4 of the picture"
