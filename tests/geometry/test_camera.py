"""The camera: affine maps of images and of K agree with each other and with the image library."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from s2hand.geometry.camera import (
    MIN_DEPTH,
    clip_positions,
    crop_affine,
    crop_camera,
    crop_view,
    intrinsics_from_fov,
    mirror_affine,
    project,
    resize_affine,
    scale_intrinsics,
    transform_points,
)
from s2hand.geometry.rotation import axis_angle_to_matrix

K = torch.tensor([[480.0, 0, 110], [0, 500, 118], [0, 0, 1]], dtype=torch.float64)


def points(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    offset = 0.2 * (torch.rand(2, 21, 3, generator=generator, dtype=torch.float64) - 0.5)
    return offset + torch.tensor([0, 0, 0.6], dtype=torch.float64)


def rotation_about(centre: tuple[float, float], angle: float) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=torch.float64)
    turn[:2, 2] = torch.tensor(centre).double() - turn[:2, :2] @ torch.tensor(centre).double()
    return turn


def test_projection_of_a_known_point() -> None:
    projected = project(torch.tensor([[0.06, -0.03, 0.6]]).double(), K)
    torch.testing.assert_close(projected, torch.tensor([[158.0, 93.0]]).double())


@given(
    angle=st.floats(-math.pi, math.pi),
    left=st.floats(-50, 150),
    side=st.floats(20, 400),
    mirror=st.booleans(),
)
def test_the_camera_of_a_mapped_image_is_a_times_k(
    angle: float, left: float, side: float, mirror: bool
) -> None:
    affine = crop_affine(left, 0.3 * left, side, 224) @ rotation_about((100.0, 90.0), angle)
    if mirror:
        affine = mirror_affine(224) @ affine
    mapped = transform_points(affine.expand(2, 3, 3), project(points(), K.expand(2, 3, 3)))
    direct = project(points(), (affine @ K).expand(2, 3, 3))
    torch.testing.assert_close(direct, mapped, atol=1e-8, rtol=0)


@given(
    left=st.floats(5, 20),
    top=st.floats(5, 20),
    side=st.floats(15, 60),
    crop_px=st.integers(8, 64),
)
def test_a_crop_samples_where_the_image_library_samples(
    left: float, top: float, side: float, crop_px: int
) -> None:
    """Resizing a ramp keeps it a ramp: each pixel's value is the position it was sampled at."""
    rows, columns = np.mgrid[:100, :100].astype(np.float32)
    box = (left, top, left + side, top + side)
    affine = torch.linalg.inv(crop_affine(left, top, side, crop_px))
    grid = np.stack(np.meshgrid(np.arange(crop_px), np.arange(crop_px)), -1)
    expected = transform_points(affine, torch.from_numpy(grid).double()).numpy()
    inner = slice(2, -2)  # the filter is cut off at the box's border
    # Enlarging is linear interpolation; reducing averages with weights that are a little lopsided.
    tolerance = 1e-3 if crop_px >= side else 0.1
    for channel, ramp in enumerate((columns, rows)):
        image = Image.fromarray(ramp).resize((crop_px, crop_px), Image.Resampling.BILINEAR, box)
        np.testing.assert_allclose(
            np.asarray(image)[inner, inner], expected[inner, inner, channel], atol=tolerance
        )


def test_resize_keeps_the_borders_and_undoes_itself() -> None:
    corners = torch.tensor([[-0.5, -0.5], [99.5, 49.5]], dtype=torch.float64)
    mapped = transform_points(resize_affine(2.0, 3.0), corners)
    torch.testing.assert_close(mapped, torch.tensor([[-0.5, -0.5], [199.5, 149.5]]).double())
    identity = resize_affine(0.25) @ resize_affine(4.0)
    torch.testing.assert_close(identity, torch.eye(3, dtype=torch.float64))


def test_mirror_agrees_with_a_flipped_array() -> None:
    image = np.arange(12).reshape(3, 4)
    u, v = transform_points(mirror_affine(4), torch.tensor([[3.0, 2.0]]).double())[0].tolist()
    assert image[:, ::-1][int(v), int(u)] == image[2, 3]


def test_scaled_intrinsics_see_the_same_crop() -> None:
    small = scale_intrinsics(K, 224, 56)
    expected = (project(points(), K) + 0.5) / 4 - 0.5
    torch.testing.assert_close(project(points(), small), expected)
    assert scale_intrinsics(K.float(), 224, 56).dtype == torch.float32


def test_points_behind_the_camera_do_not_change_sides() -> None:
    behind = torch.tensor([[0.1, 0.0, -1.0], [0.1, 0.0, 0.0]], dtype=torch.float64)
    u = project(behind, K)[:, 0]
    torch.testing.assert_close(u, torch.full((2,), 480 * 0.1 / MIN_DEPTH + 110).double())


def test_gradient_of_projection() -> None:
    x = points()[:1, :4].clone().requires_grad_()
    k = K[None].clone().requires_grad_()
    assert torch.autograd.gradcheck(project, (x, k))


def test_field_of_view() -> None:
    k = intrinsics_from_fov(640, 480, 90.0)
    edge = torch.tensor([[1.0, 0, 1.0], [-1.0, 0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(project(edge, k)[:, 0], torch.tensor([639.5, -0.5]).double())
    assert k[1].tolist() == pytest.approx([0, 320, 239.5])
    with pytest.raises(ValueError, match=r"0\.5 degrees.*1 to 179"):
        intrinsics_from_fov(640, 480, 0.5)


@pytest.mark.parametrize("size", [(224, 224), (48, 96)])
def test_clip_positions_land_on_projected_pixels(size: tuple[int, int]) -> None:
    height, width = size
    x, y, z, w = clip_positions(points(), K.expand(2, 3, 3), height, width).unbind(-1)
    pixels = torch.stack([(x / w + 1) * width / 2 - 0.5, (y / w + 1) * height / 2 - 0.5], -1)
    torch.testing.assert_close(pixels, project(points(), K.expand(2, 3, 3)))
    torch.testing.assert_close(w, points()[..., 2])
    assert ((z / w).abs() < 1).all()


def test_clip_depth_spans_near_to_far() -> None:
    ends = torch.tensor([[0.0, 0, 0.1], [0, 0, 0.5], [0, 0, 5.0]], dtype=torch.float64)
    clip = clip_positions(ends, K, 10, 10, near=0.1, far=5.0)
    depth = clip[:, 2] / clip[:, 3]
    torch.testing.assert_close(depth[[0, 2]], torch.tensor([-1.0, 1.0]).double())
    assert -1 < depth[1] < 1


def test_crop_camera_of_a_central_crop_is_the_camera() -> None:
    k = torch.tensor([[400.0, 0, 111.5], [0, 400, 111.5], [0, 0, 1]], dtype=torch.float64)
    rotation, focal = crop_camera(k, 224)
    torch.testing.assert_close(rotation, torch.eye(3, dtype=torch.float64))
    assert focal.item() == pytest.approx(400)


@given(angle=st.floats(-3, 3), left=st.floats(0, 500), side=st.floats(80, 300))
def test_crop_camera_looks_through_the_crops_centre(angle: float, left: float, side: float) -> None:
    full = intrinsics_from_fov(640, 480, 70)
    k = rotation_about((111.5, 111.5), angle) @ crop_affine(left, 100, side, 224) @ full
    rotation, focal = crop_camera(k, 224)
    torch.testing.assert_close(rotation.T @ rotation, torch.eye(3, dtype=torch.float64))
    assert torch.linalg.det(rotation) == pytest.approx(1)
    # Directly ahead lies the crop's centre, and a small step along x stays in its row.
    ahead = project(rotation[:, 2][None], k)
    torch.testing.assert_close(ahead, torch.full((1, 2), 111.5).double(), atol=1e-6, rtol=0)
    aside = project((rotation[:, 2] + 1e-4 * rotation[:, 0])[None], k)
    assert aside[0, 1].item() == pytest.approx(111.5, abs=1e-6)
    assert aside[0, 0] > 111.5
    assert focal > 0


def test_crop_camera_does_not_depend_on_where_the_image_is_turned() -> None:
    """Turning the world about the optical axis and the crop along with it changes nothing seen."""
    full = intrinsics_from_fov(640, 640, 60)
    k = crop_affine(300, 100, 200, 224) @ full
    turn = axis_angle_to_matrix(torch.tensor([0, 0, 0.7], dtype=torch.float64))
    rotation, focal = crop_camera(k, 224)
    turned, turned_focal = crop_camera(k @ turn.T, 224)
    torch.testing.assert_close(turned, turn @ rotation)
    torch.testing.assert_close(turned_focal, focal)


def test_crop_camera_has_the_scale_of_the_crops_centre() -> None:
    """Far below the axis: to the side, a step is as long as the focal length says."""
    full = intrinsics_from_fov(640, 480, 70)
    k = crop_affine(220, 380, 200, 224) @ full
    rotation, focal = crop_camera(k, 224)
    aside = project((rotation[:, 2] + 1e-4 * rotation[:, 0])[None], k)
    assert (aside[0, 0].item() - 111.5) / 1e-4 == pytest.approx(focal.item(), rel=1e-4)


def test_a_mirrored_crop_sees_the_mirrored_world() -> None:
    affine = crop_affine(300, 100, 200, 224)
    full = intrinsics_from_fov(640, 480, 70)
    flipped, k = crop_view(affine, full, 224, mirrored=True)
    pixels = project(points(), full.expand(2, 3, 3))
    mirrored = points() * torch.tensor([-1.0, 1, 1])
    seen = project(mirrored, k.expand(2, 3, 3))
    torch.testing.assert_close(seen, transform_points(flipped.expand(2, 3, 3), pixels))
    plain = transform_points(affine.expand(2, 3, 3), pixels)
    torch.testing.assert_close(seen[..., 0], 223 - plain[..., 0])
    assert (k.diagonal() > 0).all()
