from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import Delaunay

from fixtures.meshes import look, pixel_positions, soup, spheres
from render import oracle
from s2hand.render.cpu import CpuRasterizer

SCENES = {
    "spheres": lambda: spheres(48),
    "soup": lambda: soup(60, seed=1),
    "small": lambda: soup(300, seed=2, size=0.05),
}


@pytest.mark.parametrize("scene", SCENES)
def test_visibility_is_the_oracles(scene):
    positions, faces = SCENES[scene]()
    ids, depth = look(positions, faces, 40, 48)
    expected_ids, expected_depth = oracle.visible(positions, faces, 40, 48)
    assert (expected_ids > 0).float().mean() > 0.1
    assert torch.equal(ids, expected_ids)
    torch.testing.assert_close(depth, expected_depth, atol=1e-6, rtol=0)


@pytest.mark.parametrize("scene", SCENES)
def test_image_and_gradients_are_the_oracles(scene):
    positions, faces = SCENES[scene]()
    generator = torch.Generator().manual_seed(3)
    attributes = torch.rand(*positions.shape[:2], 5, generator=generator, dtype=torch.float64)
    weights = torch.rand(len(positions), 40, 48, 5, generator=generator, dtype=torch.float64)
    ids, depth = look(positions, faces, 40, 48)
    results = []
    for draw in (
        lambda p, a: CpuRasterizer(area_floor=0)(p, a, faces, 40, 48),
        lambda p, a: oracle.paint(p, a, faces, ids, depth),
    ):
        inputs = positions.clone().requires_grad_(), attributes.clone().requires_grad_()
        image = draw(*inputs)
        results.append((image.detach(), *torch.autograd.grad((image * weights).sum(), inputs)))
    (image, grad_positions, grad_attributes), expected = results[0], results[1]
    assert (image - expected[0]).abs().max() < 1e-10
    plain = oracle.interpolate(positions, attributes, faces, ids)
    assert ((image - plain).abs().amax(-1) > 1e-6).sum() > 30  # antialiasing had work to do
    for mine, theirs in ((grad_positions, expected[1]), (grad_attributes, expected[2])):
        assert theirs.abs().max() > 0.1
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6 * theirs.abs().max().item())
    assert (grad_positions[..., 2] == 0).all()


def test_gradient_is_that_of_differences_where_coverage_stays():
    # Vertices on the subpixel grid: no pixel's weights are clamped; the steps change no coverage.
    points = torch.tensor(
        [[3.25, 2.5, 0.1], [28.5, 6.75, 0.3], [9.0625, 27.25, -0.2], [30.25, 29.5, 0.5]]
    )
    w = torch.tensor([1.0, 1.5, 0.8, 1.2])
    positions = pixel_positions(points.double(), 32, w)[None]
    faces = torch.tensor([[0, 1, 2], [2, 1, 3]])
    generator = torch.Generator().manual_seed(0)
    attributes = torch.rand(1, 4, 2, generator=generator, dtype=torch.float64)
    weights = torch.rand(1, 32, 32, 2, generator=generator, dtype=torch.float64)
    draw = CpuRasterizer(area_floor=0)

    def loss(p, a):
        return (draw(p, a, faces, 32, 32) * weights).sum()

    inputs = positions.clone().requires_grad_(), attributes.clone().requires_grad_()
    grads = torch.autograd.grad(loss(*inputs), inputs)
    ids, _ = look(positions, faces, 32, 32)
    step = 1e-6
    for which, grad in enumerate(grads):
        for index in np.ndindex(*grad.shape):
            if which == 0 and index[-1] == 2:
                continue  # z decides visibility only
            pair = []
            for sign in (1, -1):
                moved = [positions.clone(), attributes.clone()]
                moved[which][index] += sign * step
                assert torch.equal(look(moved[0], faces, 32, 32)[0], ids)
                pair.append(loss(*moved))
            slope = (pair[0] - pair[1]) / (2 * step)
            torch.testing.assert_close(grad[index], slope, rtol=1e-6, atol=1e-6)


def test_silhouette_gradient_is_the_change_of_area():
    # A large triangle, moved by whole fractions of a pixel: the soft coverage follows its area.
    faces = torch.tensor([[0, 1, 2]])
    points = torch.tensor([[10.3, 8.7, 0.0], [52.1, 20.2, 0.0], [24.6, 55.4, 0.0]]).double()
    points.requires_grad_()
    positions = pixel_positions(points, 64)[None]
    ones = torch.ones(1, 3, 1, dtype=torch.float64)
    coverage = CpuRasterizer()(positions, ones, faces, 64, 64).sum()
    a, b, c = points
    area = ((b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]) / 2
    torch.testing.assert_close(coverage, area, rtol=0.005, atol=0)
    (mine,) = torch.autograd.grad(coverage, points)
    (exact,) = torch.autograd.grad(area, points)
    torch.testing.assert_close(mine, exact, rtol=0, atol=0.05 * exact.abs().max().item())


points_px = st.floats(-2, 14, allow_nan=False) | st.integers(-32, 224).map(lambda i: i / 16)


@given(
    inner=st.lists(st.tuples(points_px, points_px), min_size=1, max_size=12, unique=True),
    flips=st.integers(0, 2**32 - 1),
)
def test_meshes_that_tile_the_plane_cover_each_pixel_once(inner, flips):
    corners = [(-40.0, -40.0), (60.0, -40.0), (60.0, 60.0), (-40.0, 60.0)]
    # Triangulated after snapping: that is where the mesh has to tile.
    points = np.unique(np.round(np.array(corners + inner) * 16) / 16, axis=0)
    faces = Delaunay(points, qhull_options="QJ Pp").simplices
    (ax, ay), (bx, by) = ((points[faces[:, k]] - points[faces[:, 0]]).T for k in (1, 2))
    faces = faces[ax * by != ay * bx]
    turned = [face[::-1] if flips >> i % 32 & 1 else face for i, face in enumerate(faces)]
    positions = pixel_positions(torch.tensor(np.c_[points, np.zeros(len(points))]), 12)[None]
    count = sum(
        (look(positions, torch.tensor(face[None].copy()), 12, 12)[0] > 0).int() for face in turned
    )
    assert (count == 1).all()


def exact_hit(corners, x, y):
    """The z/w at which the ray through a pixel's centre meets a triangle, in exact arithmetic.

    corners: (u w, v w, z, w) as fractions. None where it misses, "edge" where it grazes.
    """
    ray = (Fraction(x), Fraction(y), Fraction(1))
    rays = [(u, v, w) for u, v, _, w in corners]
    areas = []
    for k in range(3):
        (a, b, c), (d, e, f) = rays[(k + 1) % 3], rays[(k + 2) % 3]
        normal = (b * f - c * e, c * d - a * f, a * e - b * d)
        areas.append(sum(n * r for n, r in zip(normal, ray, strict=True)))
    if any(area == 0 for area in areas):
        return "edge"
    total = sum(areas)
    if not (all(area > 0 for area in areas) or all(area < 0 for area in areas)):
        return None
    z = sum(area / total * corner[2] for area, corner in zip(areas, corners, strict=True))
    w = sum(area / total * corner[3] for area, corner in zip(areas, corners, strict=True))
    return z / w


@pytest.mark.parametrize("seed", range(3))
def test_coverage_is_that_of_an_exact_ray_test(seed):
    # Vertices on the subpixel grid, so that snapping changes nothing.
    rng = np.random.default_rng(seed)
    side, count = 16, 6
    px = rng.integers(-64, 16 * side + 64, (count, 3, 2)) / 16
    z = rng.integers(-60, 60, (count, 3, 1)) / 64
    w = rng.integers(8, 64, (count, 3)) / 16
    points = torch.tensor(np.concatenate([px, z], -1))
    positions = pixel_positions(points, side, torch.tensor(w)).reshape(1, 3 * count, 4)
    ids, _ = look(positions, torch.arange(3 * count).reshape(count, 3), side, side)
    triangles = [
        [
            tuple(Fraction(value) * Fraction(w[f, i]) for value in (*px[f, i], z[f, i][0], 1))
            for i in range(3)
        ]
        for f in range(count)
    ]
    compared = 0
    for y in range(side):
        for x in range(side):
            hits = [exact_hit(triangle, x, y) for triangle in triangles]
            if "edge" in hits:
                continue
            depths = [(depth, f + 1) for f, depth in enumerate(hits) if depth is not None]
            assert ids[0, y, x] == (min(depths)[1] if depths else 0)
            compared += 1
    assert compared > 200


@pytest.mark.parametrize("seed", range(4))
def test_triangles_through_the_camera_are_cut_at_the_near_plane(seed):
    # Corners behind the camera and beyond the far plane, seen by a ray test in camera space.
    rng = np.random.default_rng(seed)
    side, near, far, focal = 32, 0.1, 2.0, 20.0
    corners = rng.normal(0, 0.5, (3, 3)) + np.array([[0, 0, 0.7]])
    corners[0, 2], corners[1, 2] = -rng.uniform(0.01, 0.4), rng.uniform(2.1, 2.5)
    clip = np.zeros((3, 4))
    clip[:, 0] = focal * corners[:, 0] * 2 / side
    clip[:, 1] = focal * corners[:, 1] * 2 / side
    clip[:, 2] = (far + near) / (far - near) * corners[:, 2] - 2 * far * near / (far - near)
    clip[:, 3] = corners[:, 2]
    positions, faces = torch.tensor(clip)[None], torch.tensor([[0, 1, 2]])
    depth = torch.tensor(corners[:, 2:])[None]
    positions.requires_grad_()
    image = CpuRasterizer()(positions, depth, faces, side, side)[0, ..., 0]
    compared = covered = 0
    for y in range(side):
        for x in range(side):
            ray = np.array([(x + 0.5 - side / 2) / focal, (y + 0.5 - side / 2) / focal, 1.0])
            weights = np.linalg.solve(corners.T, ray)
            weights, distance = weights / weights.sum(), 1 / weights.sum()
            if (
                np.abs(weights).min() < 0.02
                or min(abs(distance - near), abs(distance - far)) < 0.02
            ):
                continue
            compared += 1
            inside = (weights > 0).all() and near < distance < far
            covered += inside
            expected = distance if inside else 0.0
            assert image[y, x].item() == pytest.approx(expected, abs=1e-9), (x, y)
    assert compared > 500
    assert covered > 10
    image.sum().backward()
    assert torch.isfinite(positions.grad).all()


def test_of_equal_depths_the_last_face_is_seen():
    positions = pixel_positions(torch.tensor([[0.0, 0, 0], [9, 0, 0], [0, 9, 0]]).double(), 8)
    twice = torch.tensor([[0, 1, 2], [0, 1, 2]])
    assert look(positions[None], twice, 8, 8)[0].unique().tolist() == [0, 2]


def test_far_away_vertices_saturate_and_keep_their_edges():
    # A quad whose corners project 10^12 pixels away covers the image, with no seam.
    far = 9e5
    points = [[-far, -far, 0], [far, -far, 0], [far, far, 0], [-far, far, 0]]
    positions = torch.cat([torch.tensor(points), torch.full((4, 1), 2e-6)], -1).double()[None]
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    counts = sum((look(positions, faces[i : i + 1], 16, 16)[0] > 0).int() for i in range(2))
    assert (counts == 1).all()
