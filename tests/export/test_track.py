"""Track files: everything comes back, the large part is streamed, no half file appears."""

from __future__ import annotations

import json
import os
import re
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from s2hand.export.codes import prediction_record
from s2hand.export.track import (
    SCHEMA,
    TrackArchive,
    read_track,
    small_part,
    track_record,
    write_track_json,
)
from s2hand.types import Camera, Prediction

FORMATS_MD = Path(__file__).parents[2] / "docs" / "formats.md"
FACES = torch.tensor([[0, 1, 2], [2, 1, 3]])
FACTS = {
    "num_pca": 30, "fps": 30.0, "frame_step": 1,
    "gaps": np.array([[3, 5]]), "smooth_sigma": 0.0,
}  # fmt: skip


def seen(n: int) -> dict[str, np.ndarray]:
    return {
        "times": np.arange(n, dtype=np.float32) / 30,
        "frame_numbers": np.arange(n),
        "confidence": np.linspace(0.5, 1, n, dtype=np.float32),
        "error_2d_px": np.linspace(1, 2, n, dtype=np.float32),
        "affine": np.tile(np.eye(3, dtype=np.float32), (n, 1, 1)),
    }


@pytest.fixture
def predictions(prediction: Prediction, camera: Camera) -> list[dict[str, Any]]:
    """Two records of three frames each."""
    k = torch.tensor([[900.0, 0, 640], [0, 900, 360], [0, 0, 1]]).expand(3, 3, 3)
    return [
        prediction_record(
            prediction[clip : clip + 1], camera[clip : clip + 1], FACES, "open", "0123abcd",
            [f"{clip}{frame}" for frame in range(3)], image_intrinsics=k,
            flat_hand_mean=False,
        )
        for clip in range(2)
    ]  # fmt: skip


@pytest.fixture
def record(predictions: list[dict[str, Any]]) -> dict[str, Any]:
    return track_record(predictions[0], [small_part(p) for p in predictions], seen(6), FACTS)


def write(path: Path, record: dict[str, Any], blocks: list[np.ndarray]) -> None:
    if path.suffix == ".json":
        write_track_json(path, record)
        return
    with TrackArchive(path, len(record["frames"])) as archive:
        for block in blocks:
            archive.add(block)
        archive.finish(record)


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_round_trip(
    tmp_path: Path, record: dict[str, Any], predictions: list[dict[str, Any]], suffix: str
) -> None:
    path = tmp_path / f"track{suffix}"
    write(path, record, [p["vertices"] for p in predictions])
    read = read_track(path)
    if suffix == ".npz":
        vertices = np.concatenate([p["vertices"] for p in predictions])
        np.testing.assert_array_equal(read.pop("vertices"), vertices)
    assert read.keys() == record.keys()
    for name, value in record.items():
        if isinstance(value, np.ndarray):
            assert (read[name].shape, read[name].dtype) == (value.shape, value.dtype)
            np.testing.assert_allclose(read[name], value, rtol=1e-6, atol=1e-7)
        else:
            assert read[name] == value
            assert isinstance(read[name], type(value))
    assert os.listdir(tmp_path) == [path.name]


def test_fields_hold_what_they_say(
    record: dict[str, Any], predictions: list[dict[str, Any]]
) -> None:
    assert record["schema"] == "s2hand.track/1"
    assert record["frames"] == ["00", "01", "02", "10", "11", "12"]
    shapes = {
        "shape": (10,), "texture": (778, 3), "pose": (6, 30), "joints": (6, 21, 3),
        "joints_2d": (6, 21, 2), "joints_2d_image": (6, 21, 2), "quaternions": (6, 16, 4),
        "intrinsics_crop": (6, 3, 3), "intrinsics_image": (6, 3, 3), "times": (6,),
    }  # fmt: skip
    assert {name: record[name].shape for name in shapes} == shapes
    assert record["scale"] == pytest.approx(predictions[0]["scale"][0, 0])
    np.testing.assert_array_equal(record["joints"][4], predictions[1]["joints"][1])
    assert "vertices" not in record


def test_every_field_is_documented_and_no_other(record: dict[str, Any]) -> None:
    section = FORMATS_MD.read_text().partition(f"## Tracks: `{SCHEMA}`")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert documented == {*record, "vertices", "error_2d_confident_px"}  # the last: not in all


def test_no_gap_reads_as_no_gap(tmp_path: Path, record: dict[str, Any]) -> None:
    whole = record | {"gaps": np.zeros((0, 2), np.int64)}
    write_track_json(tmp_path / "track.json", whole)
    assert read_track(tmp_path / "track.json")["gaps"].shape == (0, 2)


def test_the_json_is_strict_and_its_rows_are_joined(
    tmp_path: Path, record: dict[str, Any], predictions: list[dict[str, Any]]
) -> None:
    n = 600  # more rows than are written at once
    parts = [small_part(predictions[0])] * (n // 3)
    long = track_record(predictions[0], parts, seen(n), FACTS)
    write_track_json(tmp_path / "track.json", long)
    content = json.loads(
        (tmp_path / "track.json").read_text(), parse_constant=lambda name: pytest.fail(name)
    )
    assert np.shape(content["joints"]) == (n, 21, 3)
    assert content["frame_numbers"] == list(range(n))
    assert content["scale"] == pytest.approx(long["scale"])


def test_vertices_of_any_number_of_frames_take_no_memory(
    tmp_path: Path, predictions: list[dict[str, Any]]
) -> None:
    n = 900
    record = track_record(predictions[0], [small_part(predictions[0])] * (n // 3), seen(n), FACTS)
    whole = n * 778 * 3 * 4
    with TrackArchive(tmp_path / "track.npz", n) as archive:
        tracemalloc.start()
        for _ in range(n // 3):
            archive.add(predictions[0]["vertices"])
        archive.finish(record)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 0.1 * whole
    assert read_track(tmp_path / "track.npz")["vertices"].shape == (n, 778, 3)


def test_an_interrupted_archive_leaves_the_older_one(
    tmp_path: Path, record: dict[str, Any], predictions: list[dict[str, Any]]
) -> None:
    path = tmp_path / "track.npz"
    path.write_bytes(b"older")

    def half(archive: TrackArchive, end: str) -> None:
        archive.add(predictions[0]["vertices"])
        if end == "finish":
            archive.finish(record)
        if end == "interrupt":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), TrackArchive(path, 6) as archive:
        half(archive, "interrupt")
    with pytest.raises(ValueError, match="3 of 6 frames"), TrackArchive(path, 6) as archive:
        half(archive, "finish")
    with pytest.raises(ValueError, match="was not finished"), TrackArchive(path, 6) as archive:
        half(archive, "nothing")
    assert path.read_bytes() == b"older"
    assert os.listdir(tmp_path) == ["track.npz"]


def test_what_is_not_finite_is_refused(
    tmp_path: Path, record: dict[str, Any], predictions: list[dict[str, Any]]
) -> None:
    with pytest.raises(ValueError, match=r"track\.json: light is not finite"):
        write_track_json(tmp_path / "track.json", record | {"light": record["light"] * np.nan})
    with (
        pytest.raises(ValueError, match="are not finite"),
        TrackArchive(tmp_path / "track.npz", 6) as archive,
    ):
        archive.add(predictions[0]["vertices"] * np.inf)
    assert not os.listdir(tmp_path)


def test_files_of_others_are_refused(tmp_path: Path, record: dict[str, Any]) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"schema": "s2hand.track/2"}')
    with pytest.raises(ValueError, match=r"other\.json: schema 's2hand.track/2'.*track/1"):
        read_track(path)
    write_track_json(path, {k: v for k, v in record.items() if k != "light"})
    with pytest.raises(ValueError, match=r"other\.json lacks 'light'"):
        read_track(path)
    write_track_json(path, record | {"joints": record["joints"][:4]})
    with pytest.raises(ValueError, match="joints has 4 rows for 6 frames"):
        read_track(path)


def test_nothing_in_a_file_can_run(
    tmp_path: Path, record: dict[str, Any], predictions: list[dict[str, Any]]
) -> None:
    path = tmp_path / "track.npz"
    write(path, record, [p["vertices"] for p in predictions])
    with np.load(path, allow_pickle=False) as archive:
        assert not any(archive[name].dtype.hasobject for name in archive.files)
    with zipfile.ZipFile(path, "a") as archive, archive.open("evil.npy", "w") as member:
        np.lib.format.write_array(member, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_track(path)
