"""What meshes and animations say of themselves: the same in every format, and still readable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from fixtures.gltf import Glb
from s2hand.export.about import describe
from s2hand.export.codes import prediction_record
from s2hand.export.mesh_files import write_mesh
from s2hand.types import Camera, Prediction

HOSTILE = "open\nelement vertex 9\n# \x7f é"
VERTICES = np.array([[0, 0, 0.6], [0.1, 0, 0.6], [0, 0.1, 0.6], [0, 0, 0.5]])
FACES = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
COLORS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.2, 0.4, 0.8]])


@pytest.fixture
def record(prediction: Prediction, camera: Camera) -> dict[str, Any]:
    """Six frames of a left hand, of a model with a name that wants to be more."""
    k = torch.tensor([[900.0, 0, 640], [0, 900, 360], [0, 0, 1]]).expand(6, 3, 3)
    return prediction_record(
        prediction, camera, torch.tensor([[0, 1, 2]]), HOSTILE, "0123abcd", list("abcdef"), "left",
        k, flat_hand_mean=True,
    )  # fmt: skip


def said(path: Path) -> dict[str, Any]:
    """What a file says of itself, read by hand."""
    if path.suffix == ".glb":
        return Glb(path).tree["asset"]["extras"]
    mark = "# " if path.suffix == ".obj" else "comment "
    head = path.read_bytes().split(b"end_header")[0].decode("ascii")
    lines = [line.removeprefix(mark) for line in head.split("\n") if line.startswith(mark)]
    return {name: json.loads(value) for name, value in (line.split(": ", 1) for line in lines)}


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".glb"])
def test_every_mesh_says_what_it_is_and_opens(
    tmp_path: Path, record: dict[str, Any], suffix: str
) -> None:
    path = tmp_path / f"hand{suffix}"
    write_mesh(path, VERTICES, FACES, COLORS, describe(record, 4))
    found = said(path)
    assert found["units"].startswith("lengths in metres")
    assert found["axes"].startswith("x right, y up" if suffix == ".glb" else "camera: x right, y d")
    assert (found["side"], found["mirrored"], found["flat_hand_mean"]) == ("left", True, True)
    assert (found["hand_model"], found["hand_model_fingerprint"]) == (HOSTILE, "0123abcd")
    assert found["crop_px"] == 224
    for name in ("intrinsics_crop", "intrinsics_image"):
        np.testing.assert_allclose(found[name], record[name][4], rtol=1e-6)
    mesh = trimesh.load(path, force="mesh", process=False)
    signs = [1, -1, -1] if suffix == ".glb" else [1, 1, 1]
    np.testing.assert_allclose(mesh.vertices, VERTICES * signs, atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, FACES)
    if suffix != ".glb":  # whose colours are linear light
        np.testing.assert_allclose(mesh.visual.vertex_colors[:, :3] / 255, COLORS, atol=0.5 / 255)


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".glb"])
def test_a_mesh_of_nobody_still_says_its_units_and_axes(tmp_path: Path, suffix: str) -> None:
    write_mesh(tmp_path / f"a{suffix}", VERTICES, FACES)
    assert said(tmp_path / f"a{suffix}").keys() == {"units", "axes"}


def test_a_camera_that_all_frames_share_is_said_once(record: dict[str, Any]) -> None:
    moving = record["intrinsics_crop"].copy()
    moving[3, 0, 2] += 5
    whole = describe(record | {"intrinsics_crop": moving})
    assert np.shape(whole["intrinsics_image"]) == (3, 3)
    np.testing.assert_allclose(whole["intrinsics_crop"], moving, rtol=1e-6)
    assert describe(record | {"intrinsics_crop": moving}, 3)["intrinsics_crop"][0][2] == (
        pytest.approx(float(moving[3, 0, 2]))
    )


def test_a_camera_that_is_not_known_is_not_said(record: dict[str, Any]) -> None:
    del record["intrinsics_image"]
    assert "intrinsics_image" not in describe(record)
