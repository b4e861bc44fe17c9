"""Prediction files: everything comes back, left hands come back mirrored, JSON is strict."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from s2hand.export.codes import prediction_record, read_prediction, write_prediction
from s2hand.geometry.camera import project
from s2hand.types import Camera, Prediction

FACES = torch.tensor([[0, 1, 2], [2, 1, 3]])
FRAMES = [f"{clip}/{frame}.jpg" for clip in "ab" for frame in range(3)]


def record_of(prediction: Prediction, camera: Camera, **options: Any) -> dict[str, Any]:
    options = {"flat_hand_mean": True, **options}
    return prediction_record(prediction, camera, FACES, "open", "0123abcd", FRAMES, **options)


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_round_trip(tmp_path: Path, prediction: Prediction, camera: Camera, suffix: str) -> None:
    record = record_of(prediction, camera)
    write_prediction(tmp_path / f"hand{suffix}", record)
    read = read_prediction(tmp_path / f"hand{suffix}")
    assert list(read) == list(record)
    for name, value in record.items():
        if isinstance(value, np.ndarray):
            assert read[name].shape == value.shape
            assert read[name].dtype == value.dtype
            np.testing.assert_allclose(read[name], value, rtol=1e-6, atol=1e-7)
        else:
            assert read[name] == value
    assert os.listdir(tmp_path) == [f"hand{suffix}"]


def test_fields_hold_what_they_say(prediction: Prediction, camera: Camera) -> None:
    record = record_of(prediction, camera)
    assert record["schema"] == "s2hand.prediction/1"
    assert record["joint_order"][:2] == ["wrist", "thumb_1"]
    assert record["rotation_order"][:2] == ["root", "index_1"]
    assert len(record["rotation_order"]) == 16
    assert (record["side"], record["mirrored"], record["crop_px"]) == ("right", False, 224)
    assert record["flat_hand_mean"] is True
    shapes = {
        "pose": (6, 30),
        "light": (6, 11),
        "texture": (6, 778, 3),
        "vertices": (6, 778, 3),
        "quaternions": (6, 16, 4),
        "intrinsics_crop": (6, 3, 3),
        "faces": (2, 3),
    }
    assert {name: record[name].shape for name in shapes} == shapes
    np.testing.assert_allclose(record["joints"][4], prediction.hand.joints[1, 1], rtol=1e-6)
    assert "joints_2d_image" not in record


def test_whole_image_joints_are_projected_with_its_own_camera(
    prediction: Prediction, camera: Camera
) -> None:
    k = torch.tensor([[900.0, 0, 640], [0, 900, 360], [0, 0, 1]]).expand(6, 3, 3)
    record = record_of(prediction, camera, image_intrinsics=k)
    x, y, z = record["joints"][5, 8]
    expected = [900 * x / z + 640, 900 * y / z + 360]
    np.testing.assert_allclose(record["joints_2d_image"][5, 8], expected, rtol=1e-5)
    np.testing.assert_array_equal(record["intrinsics_image"], k)


def test_a_left_hand_is_written_as_the_camera_saw_it(
    prediction: Prediction, camera: Camera
) -> None:
    right, left = record_of(prediction, camera), record_of(prediction, camera, side="left")
    assert (left["side"], left["mirrored"]) == ("left", True)
    np.testing.assert_allclose(left["vertices"], right["vertices"] * [-1, 1, 1])
    np.testing.assert_allclose(left["rotation"], right["rotation"] * [1, -1, -1])
    np.testing.assert_array_equal(left["faces"], right["faces"][:, ::-1])
    pixels = project(torch.tensor(left["joints"]), torch.tensor(left["intrinsics_crop"]))
    np.testing.assert_allclose(pixels, left["joints_2d"], atol=1e-3)


def test_npz_needs_no_pickle_and_json_is_strict(
    tmp_path: Path, prediction: Prediction, camera: Camera
) -> None:
    record = record_of(prediction, camera)
    write_prediction(tmp_path / "hand.npz", record)
    with np.load(tmp_path / "hand.npz", allow_pickle=False) as archive:
        assert not any(archive[name].dtype.hasobject for name in archive.files)
    write_prediction(tmp_path / "hand.json", record)
    content = json.loads(
        (tmp_path / "hand.json").read_text(), parse_constant=lambda name: pytest.fail(name)
    )
    assert np.shape(content["vertices"]) == (6, 778, 3)


def test_errors_name_the_value_and_the_remedy(
    tmp_path: Path, prediction: Prediction, camera: Camera
) -> None:
    record = record_of(prediction, camera)
    with pytest.raises(ValueError, match="5 names for 6 frames"):
        prediction_record(prediction, camera, FACES, "open", "0", FRAMES[:5], flat_hand_mean=False)
    with pytest.raises(ValueError, match=r"'both'.*'left' or 'right'"):
        record_of(prediction, camera, side="both")
    with pytest.raises(ValueError, match=r"hand\.csv: use \.npz or \.json"):
        write_prediction(tmp_path / "hand.csv", record)
    with pytest.raises(ValueError, match="joints is not finite"):
        write_prediction(tmp_path / "hand.npz", record | {"joints": record["joints"] * np.nan})
    (tmp_path / "old.json").write_text('{"schema": "s2hand.prediction/0"}')
    with pytest.raises(ValueError, match=r"old\.json: schema 's2hand.prediction/0'.*/1'"):
        read_prediction(tmp_path / "old.json")
