"""HanCo's format: many cameras, world space, missing files, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fixtures.hanco import FRAMES, NO_IMAGE, UNDETECTED, HanCoTree, write_hanco
from s2hand.data.recorded.hanco import HanCoDataset
from s2hand.geometry.camera import project


@pytest.fixture(scope="module")
def hanco(tmp_path_factory: pytest.TempPathFactory) -> HanCoTree:
    return write_hanco(tmp_path_factory.mktemp("hanco"))


@pytest.fixture
def copy(hanco: HanCoTree, tmp_path: Path) -> Path:
    """A tree to spoil."""
    return Path(shutil.copytree(hanco.root, tmp_path / "copy"))


def test_world_labels_are_served_in_each_camera_s_space(hanco: HanCoTree) -> None:
    dataset = HanCoDataset(hanco.root, hanco.detections, cameras=(3, 0), labels=True)
    cameras = set()
    for name, sample in zip(dataset.names, dataset, strict=True):
        cameras.add(name.split("/")[1])
        assert sample.labels is not None
        np.testing.assert_allclose(sample.labels.joints[0], hanco.joints[name], atol=1e-6)
        projected = project(sample.labels.joints, sample.camera.intrinsics)
        torch.testing.assert_close(projected, sample.keypoints, atol=1e-3, rtol=0)
        u, v = projected[0, 9].round().long().tolist()
        assert sample.image[0, 0, v, u] > sample.image[0, 1, v, u], "skin, not the green screen"
    assert cameras == {"cam0", "cam3"}


def test_missing_files_are_counted_and_cut_the_windows(hanco: HanCoTree) -> None:
    dataset = HanCoDataset(hanco.root, hanco.detections, cameras=(0, 3))
    assert NO_IMAGE not in dataset.names
    runs = [[dataset.names[i] for i in run] for run in dataset.segments()]
    lengths = {run[0]: len(run) for run in runs}
    assert lengths == {
        "0000/cam0/00000000": FRAMES,
        "0000/cam3/00000000": 2,
        "0000/cam3/00000003": 2,
        **{f"0001/cam{c}/00000000": 1 for c in (0, 3)},
        **{f"0001/cam{c}/00000002": 3 for c in (0, 3)},
    }
    assert dataset.reasons["no image file"] == 1
    assert dataset.reasons["no calibration file"] == 2
    labelled = HanCoDataset(hanco.root, hanco.detections, cameras=(0, 3), labels=True)
    assert labelled.reasons["no joint file"] == 2
    assert len(labelled) == len(dataset) - 2


def test_splits(hanco: HanCoTree) -> None:
    parts = {
        split: HanCoDataset(hanco.root, hanco.detections, split, (0,), val_sequences=count)
        for split, count in (("train", 1), ("val", 1), ("test", 0))
    }
    found = {split: {name[:4] for name in part.names} for split, part in parts.items()}
    assert found == {"train": {"0000"}, "val": {"0001"}, "test": {"0003"}}
    test = parts["test"]
    assert not test[test.names.index(UNDETECTED)].confidence.any()
    assert test[0].labels is None
    labelled = HanCoDataset(hanco.root, None, "test", (0,), labels=True)
    assert len(labelled) == FRAMES - 1
    assert labelled.reasons["no validated fit"] == 1


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("xyz/0000/00000000.json", [[0, 0, 1]] * 20, r"0000\.json: expected finite .* \(21, 3\)"),
        ("xyz/0000/00000000.json", None, r"00000000\.json: expected"),
        ("xyz/0000/00000000.json", [[0, 0, -9]] * 21, "OpenGL axes given as OpenCV"),
        ("calib/0000/00000000.json", {"K": [[1]]}, r"00000000\.json: expected"),
        ("calib/0000/00000000.json", [], r"expected K \(8 x 3 x 3\)"),
        ("meta.json", {"is_train": [[True] * 5] * 4}, r"meta\.json: no list of lists 'is_valid'"),
        ("meta.json", {k: [[True] * 2] * 4 for k in ("is_train", "is_valid")}, "image of frame 4"),
        ("meta.json", {k: [[True] * 5] * 2 for k in ("is_train", "is_valid")}, "lists 2 sequences"),
        (
            "meta.json",
            {"is_train": [[True] * 5] * 4, "is_valid": [[True] * 5] * 3},
            "is_train has 20 .* is_valid 15",
        ),
    ],
)
def test_bad_files_are_named(copy: Path, file: str, content: Any, message: str) -> None:
    if content == [[0, 0, -9]] * 21:  # behind whichever camera: every frame far away in the world
        content = [[0.0, 0.0, 0.0]] * 21
        calibration = json.loads((copy / "calib/0000/00000000.json").read_text())
        calibration["M"][0][2][3] = -1.0
        (copy / "calib/0000/00000000.json").write_text(json.dumps(calibration))
    (copy / file).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        HanCoDataset(copy, copy / "detections.json", cameras=(0,), labels=True)


def test_damaged_and_absent_files_are_named(copy: Path, tmp_path: Path) -> None:
    (copy / "calib/0000/00000001.json").write_text('{"K": [[')
    with pytest.raises(ValueError, match=r"00000001\.json is not valid JSON"):
        HanCoDataset(copy, copy / "detections.json")
    (copy / "meta.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"meta\.json: no such file"):
        HanCoDataset(copy, copy / "detections.json")


def test_arguments_are_checked(hanco: HanCoTree) -> None:
    for options, message in (
        ({"cameras": (8,)}, r"choose from 0\.\.7"),
        ({"split": "dev"}, "use 'train', 'val' or 'test'"),
        ({"split": "val"}, "give val_sequences"),
        ({"val_sequences": 2}, "there are 2 training sequences; hold out fewer"),
        ({"split": "test", "skip": ("a",)}, "leave skip out"),
    ):
        with pytest.raises(ValueError, match=message):
            HanCoDataset(hanco.root, hanco.detections, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="training needs them"):
        HanCoDataset(hanco.root, None)
