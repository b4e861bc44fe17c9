"""Mesh operations against trimesh and by hand, on solids and on the open hand."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
import torch
import trimesh

from fixtures.meshes import boundary_edges, euler_characteristic
from s2hand.geometry.mesh import uniform_laplacian, unique_edges, vertex_normals

TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


@pytest.fixture(scope="module")
def hand() -> trimesh.Trimesh:
    """The embedded hand: open at the wrist, vertices of every valence."""
    with np.load(str(files("s2hand.hand.assets") / "open_hand_right.npz")) as asset:
        return trimesh.Trimesh(asset["v_template"], asset["f"].astype(np.int64), process=False)


def tensors(mesh: trimesh.Trimesh) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(mesh.vertices.copy())[None], torch.from_numpy(mesh.faces.copy())


def test_normals_are_area_weighted_as_trimesh_computes_them(hand: trimesh.Trimesh) -> None:
    expected = trimesh.geometry.mean_vertex_normals(
        len(hand.vertices), hand.faces, hand.face_normals * hand.area_faces[:, None]
    )
    normals = vertex_normals(*tensors(hand))[0].numpy()
    np.testing.assert_allclose(normals, expected, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)


def test_normals_point_out_of_a_sphere() -> None:
    sphere = trimesh.creation.icosphere(2, radius=0.001)
    normals = vertex_normals(*tensors(sphere))[0].numpy()
    np.testing.assert_allclose(normals, sphere.vertices / 0.001, atol=0.03)


def test_a_vertex_without_faces_has_a_zero_normal_and_a_finite_gradient() -> None:
    vertices = torch.rand(2, 5, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    normals = vertex_normals(vertices, torch.from_numpy(TETRAHEDRON))
    assert torch.equal(normals[:, 4], torch.zeros(2, 3))
    normals.square().sum().backward()
    assert vertices.grad is not None
    assert vertices.grad.isfinite().all()


def test_edges_of_a_tetrahedron() -> None:
    pairs = [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    assert unique_edges(TETRAHEDRON).tolist() == pairs


def test_the_hand_is_a_disc_bounded_at_the_wrist(hand: trimesh.Trimesh) -> None:
    assert euler_characteristic(hand.faces) == 1
    edges = boundary_edges(hand.faces)
    assert len(edges) == len(np.unique(edges)) == 16


def test_laplacian_is_the_mean_of_the_neighbours_minus_the_vertex(hand: trimesh.Trimesh) -> None:
    laplacian = uniform_laplacian(hand.faces, 778)
    torch.testing.assert_close(laplacian @ torch.ones(778, 2), torch.zeros(778, 2))
    values = laplacian @ torch.from_numpy(hand.vertices).float()
    for vertex in (0, 77, 777, *boundary_edges(hand.faces)[0]):
        mean = hand.vertices[hand.vertex_neighbors[vertex]].mean(0)
        np.testing.assert_allclose(values[vertex], mean - hand.vertices[vertex], atol=1e-6)


def test_laplacian_of_a_mesh_with_an_unused_vertex_is_finite() -> None:
    laplacian = uniform_laplacian(TETRAHEDRON, 5).to_dense()
    assert laplacian.isfinite().all()
    torch.testing.assert_close(laplacian[0], torch.tensor([-1.0, 1 / 3, 1 / 3, 1 / 3, 0]))


def loop_by_trimesh(mesh: trimesh.Trimesh) -> np.ndarray:
    return trimesh.remesh.subdivide_loop(mesh.vertices, mesh.faces, iterations=1)[0]
