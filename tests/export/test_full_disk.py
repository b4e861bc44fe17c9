"""A disk that fills: no writer leaves a half file under the good name, each names the path."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from s2hand.export.bvh import write_bvh
from s2hand.export.codes import prediction_record, write_prediction
from s2hand.export.mesh_files import write_mesh
from s2hand.export.motion import Motion
from s2hand.export.movie import MovieWriter
from s2hand.export.skinned import write_animation
from s2hand.export.track import SEEN, TrackArchive, small_part, track_record, write_track_json
from s2hand.hand.mano import ManoHead
from s2hand.types import Camera, Prediction

pytestmark = pytest.mark.skipif(
    not os.path.exists("/dev/full"), reason="no /dev/full on this system"
)
N = 6


@pytest.fixture
def record(prediction: Prediction, camera: Camera) -> dict[str, Any]:
    k = torch.tensor([[900.0, 0, 640], [0, 900, 360], [0, 0, 1]]).expand(N, 3, 3)
    return prediction_record(
        prediction, camera, ManoHead().faces, "open", "0", list("abcdef"), "right", k,
        flat_hand_mean=False,
    )  # fmt: skip


def track(record: dict[str, Any]) -> dict[str, Any]:
    facts = {"gaps": np.zeros((0, 2)), "num_pca": 30, "fps": 30.0, "frame_step": 1}
    seen = {name: np.zeros(N) for name in SEEN}
    return track_record(record, [small_part(record)], seen, facts)


def archive(path: Path, record: dict[str, Any]) -> None:
    with TrackArchive(path, N) as file:
        file.add(np.random.default_rng(0).random((N, 778, 3)))
        file.finish(track(record))


def motion(record: dict[str, Any]) -> Motion:
    head = ManoHead()
    joints = head.rest(torch.zeros(10))[1].numpy()
    times, turns = np.arange(N) / 30, record["quaternions"]
    return Motion(joints, head.parents, times, turns, record["translation"], 1.0)


def movie(path: Path, record: dict[str, Any]) -> None:
    with MovieWriter(path, 30, (64, 48)) as film:
        for _ in range(5):
            film.write(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))


def mesh(path: Path, record: dict[str, Any]) -> None:
    write_mesh(path, record["vertices"][0], record["faces"])


def animation(path: Path, record: dict[str, Any]) -> None:
    weights = ManoHead().skin_weights.numpy()
    write_animation(
        path, motion(record), vertices=record["vertices"][0], weights=weights,
        faces=record["faces"], colors=None,
    )  # fmt: skip


WRITERS: dict[str, Callable[[Path, dict[str, Any]], None]] = {
    "a.npz": write_prediction,
    "a.json": write_prediction,
    "track.npz": archive,
    "track.json": lambda path, record: write_track_json(path, track(record)),
    "a.obj": mesh,
    "a.ply": mesh,
    "a.glb": mesh,
    "hand.glb": animation,
    "hand.bvh": lambda path, record: write_bvh(path, motion(record), np.zeros((5, 3)), 1 / 30),
    "overlay.mp4": movie,
}


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("name", WRITERS)
def test_no_half_file_and_a_message_with_the_path(
    tmp_path: Path, record: dict[str, Any], monkeypatch: pytest.MonkeyPatch, name: str, older: bool
) -> None:
    path = tmp_path / name
    if older:
        path.write_bytes(b"older")
    # What is written beside the good name goes to a device on which there is no space.
    monkeypatch.setattr(secrets, "token_hex", lambda _: "full")
    os.symlink("/dev/full", path.with_name(f".{path.stem}.s2hand-full{path.suffix}"))
    with pytest.raises(OSError, match=rf"No space left on device: '.*/{name}'") as caught:
        WRITERS[name](path, record)
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == ([name] if older else [])
    assert not older or path.read_bytes() == b"older"
