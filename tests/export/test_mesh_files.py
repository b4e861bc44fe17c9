"""Mesh files, read back by trimesh and by eye of a parser written here."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh

from s2hand.export.mesh_files import srgb_to_linear, write_mesh


@pytest.fixture
def mesh() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A tetrahedron with two vertices at one place, which careless writers merge."""
    vertices = np.array([[0, 0, 0.6], [0.1, 0, 0.6], [0, 0.1, 0.6], [0, 0, 0.5], [0, 0, 0.6]])
    faces = np.array([[0, 1, 2], [0, 3, 1], [4, 2, 3], [1, 3, 2]])
    colors = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5], [0.2, 0.4, 0.8]])
    return vertices, faces, colors


def test_ply_round_trip(tmp_path: Path, mesh: tuple[np.ndarray, ...]) -> None:
    write_mesh(tmp_path / "hand.ply", *mesh)
    read = trimesh.load(tmp_path / "hand.ply", process=False)
    np.testing.assert_allclose(read.vertices, mesh[0], atol=1e-7)
    np.testing.assert_array_equal(read.faces, mesh[1])
    np.testing.assert_allclose(read.visual.vertex_colors[:, :3] / 255, mesh[2], atol=0.5 / 255)


def test_obj_holds_positions_colours_and_one_based_faces(
    tmp_path: Path, mesh: tuple[np.ndarray, ...]
) -> None:
    write_mesh(tmp_path / "hand.obj", *mesh)
    lines = [line.split() for line in (tmp_path / "hand.obj").read_text().splitlines()]
    rows = np.array([[float(x) for x in line[1:]] for line in lines if line[0] == "v"])
    np.testing.assert_allclose(rows, np.concatenate([mesh[0], mesh[2]], 1), atol=5e-5)
    faces = np.array([[int(x) for x in line[1:]] for line in lines if line[0] == "f"])
    np.testing.assert_array_equal(faces, mesh[1] + 1)
    read = trimesh.load(tmp_path / "hand.obj", process=False, maintain_order=True)
    np.testing.assert_allclose(read.vertices, mesh[0], atol=1e-7)


def test_glb_has_gltf_axes_linear_colours_and_skin(
    tmp_path: Path, mesh: tuple[np.ndarray, ...]
) -> None:
    write_mesh(tmp_path / "hand.glb", *mesh)
    scene = trimesh.load(tmp_path / "hand.glb", process=False)
    (read,) = scene.geometry.values()
    np.testing.assert_allclose(read.vertices, mesh[0] * [1, -1, -1], atol=1e-7)
    np.testing.assert_array_equal(read.faces, mesh[1])
    np.testing.assert_array_equal(
        scene.graph.get(next(iter(scene.graph.nodes_geometry)))[0], np.eye(4)
    )
    content = (tmp_path / "hand.glb").read_bytes()
    magic, version, length = struct.unpack("<4sII", content[:12])
    assert (magic, version, length) == (b"glTF", 2, len(content))
    size = struct.unpack("<I", content[12:16])[0]
    tree = json.loads(content[20 : 20 + size])
    (primitive,) = tree["meshes"][0]["primitives"]
    assert tree["materials"][primitive["material"]]["doubleSided"] is True
    accessor = tree["accessors"][primitive["attributes"]["COLOR_0"]]
    assert accessor["normalized"] is True
    view = tree["bufferViews"][accessor["bufferView"]]
    start = 20 + size + 8 + view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    colors = np.frombuffer(content[start : start + 20], np.uint8).reshape(5, 4)
    # 0.5 in sRGB is 0.2140 of linear light (IEC 61966-2-1)
    np.testing.assert_allclose(colors[3, :3] / 255, 0.2140, atol=0.5 / 255)
    np.testing.assert_array_equal(colors[:3, :3], 255 * np.eye(3))
    assert (colors[:, 3] == 255).all()


def test_srgb_transfer_is_continuous_and_keeps_the_ends() -> None:
    assert srgb_to_linear(np.array([0.0, 1.0])).tolist() == [0.0, 1.0]
    below, above = srgb_to_linear(np.array([0.04045, 0.0404501]))
    assert above == pytest.approx(below, abs=1e-6)


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".glb"])
def test_colours_are_optional_and_clipped(
    tmp_path: Path, mesh: tuple[np.ndarray, ...], suffix: str
) -> None:
    vertices, faces, colors = mesh
    write_mesh(tmp_path / f"grey{suffix}", vertices, faces)
    write_mesh(tmp_path / f"over{suffix}", vertices, faces, colors * 3 - 1)
    write_mesh(tmp_path / f"clipped{suffix}", vertices, faces, np.clip(colors * 3 - 1, 0, 1))
    over = (tmp_path / f"over{suffix}").read_bytes()
    assert over == (tmp_path / f"clipped{suffix}").read_bytes()


def test_errors_name_the_remedy_and_leave_no_file(
    tmp_path: Path, mesh: tuple[np.ndarray, ...]
) -> None:
    vertices, faces, colors = mesh
    with pytest.raises(ValueError, match=r"hand\.stl: use one of \.obj, \.ply, \.glb"):
        write_mesh(tmp_path / "hand.stl", vertices, faces)
    with pytest.raises(ValueError, match="4 colours for 5 vertices"):
        write_mesh(tmp_path / "hand.ply", vertices, faces, colors[:4])
    with pytest.raises(ValueError, match=r"0\.\.3 of 3"):
        write_mesh(tmp_path / "hand.ply", vertices[:3], faces[:2])
    with pytest.raises(ValueError, match="not finite"):
        write_mesh(tmp_path / "hand.ply", vertices * np.nan, faces)
    assert os.listdir(tmp_path) == []
