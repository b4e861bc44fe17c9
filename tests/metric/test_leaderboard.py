"""Leaderboard files: read back as the evaluation scripts read them, and refused when wrong."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from s2hand.metric.leaderboard import write_freihand, write_ho3d


def hands(frames: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    centre = np.array([0.0, 0.0, 0.6])
    joints = generator.uniform(-0.08, 0.08, (frames, 21, 3)) + centre
    vertices = generator.uniform(-0.08, 0.08, (frames, 778, 3)) + centre
    return joints.astype(np.float32), vertices


@pytest.mark.parametrize("name", ["pred.json", "submission.zip"])
def test_freihand_file_holds_both_lists_in_order(tmp_path: Path, name: str) -> None:
    joints, vertices = hands()
    write_freihand(tmp_path / name, joints, vertices, frames=3)
    if name.endswith(".zip"):
        with zipfile.ZipFile(tmp_path / name) as archive:
            assert archive.namelist() == ["pred.json"]
            xyz, verts = json.loads(archive.read("pred.json"))
    else:
        xyz, verts = json.loads((tmp_path / name).read_text())
    np.testing.assert_allclose(xyz, joints, atol=1e-7)
    np.testing.assert_allclose(verts, vertices, atol=1e-7)
    assert os.listdir(tmp_path) == [name]


def test_ho3d_file_has_opengl_axes_and_its_own_order(tmp_path: Path) -> None:
    joints, vertices = hands()
    write_ho3d(tmp_path / "pred.json", joints, vertices, frames=3)
    xyz, verts = (np.array(part) for part in json.loads((tmp_path / "pred.json").read_text()))
    order = [0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20]
    for read, given in ((xyz, joints[:, order]), (verts, vertices)):
        np.testing.assert_allclose(read[..., 0], given[..., 0], atol=1e-7)
        np.testing.assert_allclose(read[..., 1:], -given[..., 1:], atol=1e-7)


def test_the_whole_split_must_be_there(tmp_path: Path) -> None:
    joints, vertices = hands()
    with pytest.raises(ValueError, match=r"joints have shape \(3, 21, 3\).*\(3960, 21, 3\)"):
        write_freihand(tmp_path / "pred.json", joints, vertices)
    with pytest.raises(ValueError, match=r"vertices have shape \(2, 778, 3\)"):
        write_ho3d(tmp_path / "pred.json", joints, vertices[:2], frames=3)


@pytest.mark.parametrize(
    ("factor", "message"),
    [(1000.0, r"spans 1\d\d.*divide millimetres"), (0.01, r"spans 0\.001.*metres")],
)
def test_units_are_checked(tmp_path: Path, factor: float, message: str) -> None:
    joints, vertices = hands()
    with pytest.raises(ValueError, match=message):
        write_freihand(tmp_path / "pred.json", joints * factor, vertices * factor, frames=3)


def test_axes_and_values_are_checked(tmp_path: Path) -> None:
    joints, vertices = hands()
    with pytest.raises(ValueError, match="OpenCV axes"):
        write_ho3d(tmp_path / "pred.json", joints * [1, -1, -1], vertices, frames=3)
    vertices[1, 7, 0] = np.nan
    with pytest.raises(ValueError, match=r"vertices of frames \[1\] are not finite"):
        write_freihand(tmp_path / "pred.json", joints, vertices, frames=3)
    assert os.listdir(tmp_path) == []
