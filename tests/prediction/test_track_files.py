"""The files of a clip beside its track: skeleton and metadata; what a full disk leaves of them."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fixtures.bvh import Bvh
from fixtures.clips import FRAMES, HAND, Clip, write_clip
from fixtures.gltf import Glb
from fixtures.runs import run_command
from s2hand.cli.predict import main
from s2hand.export.codes import ROTATION_NAMES, read_prediction
from s2hand.export.track import read_track
from s2hand.files.outputs import MANIFEST
from s2hand.geometry.skeleton import TO_COMMON
from s2hand.hand.mano import ManoHead
from s2hand.prediction import track_files
from s2hand.types import HandCode

FORMATS = "formats=[npz,json,glb,bvh,ply]"


@pytest.fixture(scope="module")
def checkpoint(smoke_run: Path) -> Path:
    return smoke_run / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module", params=["right", "left"])
def side(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def clip(side: str, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return write_clip(tmp_path_factory.mktemp(side), mirrored=side == "left")


def run(checkpoint: Path, clip: Clip, out: Path, *arguments: str) -> int:
    return run_command(
        main, f"checkpoint={checkpoint}", f"source={clip.source}",
        f"detections={clip.detections}", f"out={out}", *arguments,
    )  # fmt: skip


@pytest.fixture(scope="module")
def out(checkpoint: Path, clip: Clip, side: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp(f"{side}-out")
    assert run(checkpoint, clip, out, f"side={side}", FORMATS) == 0
    return out


def chain_joints(track: dict[str, Any]) -> np.ndarray:
    """[n, 16, 3] where the right hand's joints turn, by the hand layer's word on the codes."""
    n = len(track["frames"])
    flip = np.float32([-1, 1, 1] if track["mirrored"] else [1, 1, 1])
    code = {name: track[name] for name in ("pose", "light")} | {
        "translation": track["translation"] * flip,
        "rotation": track["rotation"] * np.prod(flip) * flip,
        "shape": np.broadcast_to(track["shape"], (n, 10)),
        "scale": np.full((n, 1), track["scale"], np.float32),
        "texture": np.zeros((n, 778, 3), np.float32),
    }
    layer = ManoHead("open", convention="smplx")
    joints = layer(HandCode(**{k: torch.tensor(v) for k, v in code.items()})).joints.numpy()
    return joints[:, [TO_COMMON["mano"].index(joint) for joint in range(16)]] * flip


def test_the_skeleton_moves_as_the_track_with_the_film(out: Path) -> None:
    track, bvh = read_track(out / "track.npz"), Bvh(out / "hand.bvh")
    assert bvh.frame_time == pytest.approx(1 / 30, abs=1e-9)
    assert len(bvh.rows) == FRAMES, "the last frame has a hand"
    expected, places = chain_joints(track) * [1, -1, -1], bvh.places()
    for joint, name in enumerate(ROTATION_NAMES):
        np.testing.assert_allclose(places[name][HAND], expected[:, joint], atol=1e-4)
        np.testing.assert_array_equal(places[name][0], places[name][HAND[0]])
    # The regressed joints of the track lie up to some millimetres beside those that turn.
    for finger, tip in (("index", 8), ("thumb", 4)):
        shown = places[f"{finger}_3_end"][HAND] * [1, -1, -1]
        np.testing.assert_allclose(shown, track["joints"][:, tip], atol=2e-3)
    in_between = np.linspace(places["root"][3], places["root"][6], 4)
    np.testing.assert_allclose(places["root"][3:7], in_between, atol=1e-5)


def test_skeleton_and_skin_move_alike(out: Path) -> None:
    glb, places = Glb(out / "hand.glb"), Bvh(out / "hand.bvh").places()
    for frame in range(FRAMES):
        shown = np.stack([places[name][frame] for name in ROTATION_NAMES])
        np.testing.assert_allclose(glb.joints(frame / 30), shown, atol=2e-4)


def test_every_file_says_whose_hand_it_is(out: Path, side: str) -> None:
    track = read_track(out / "track.json")
    comments = (out / "ply" / f"{track['frames'][2]}.ply").read_bytes().split(b"end_header")[0]
    lines = [line[8:] for line in comments.decode().split("\n") if line.startswith("comment ")]
    ply = {name: json.loads(value) for name, value in (line.split(": ", 1) for line in lines)}
    extras = Glb(out / "hand.glb").tree["asset"]["extras"]
    for said in (track, ply, extras):
        assert (said["side"], said["mirrored"]) == (side, side == "left")
        assert (said["hand_model"], said["flat_hand_mean"]) == ("open", False)
        assert said["hand_model_fingerprint"] == ManoHead("open").fingerprint
    np.testing.assert_allclose(ply["intrinsics_crop"], track["intrinsics_crop"][2], rtol=1e-6)
    np.testing.assert_allclose(extras["intrinsics_crop"], track["intrinsics_crop"], rtol=1e-6)
    np.testing.assert_allclose(extras["intrinsics_image"], track["intrinsics_image"][0], rtol=1e-6)


def test_pictures_say_it_too(checkpoint: Path, clip: Clip, side: str, tmp_path: Path) -> None:
    arguments = [f"side={side}", "sequence=false", "every=4", "formats=[json,npz,glb]"]
    assert run(checkpoint, clip, tmp_path, *arguments) == 0
    for suffix in ("json", "npz"):
        record = read_prediction(tmp_path / f"000004.{suffix}")
        assert (record["side"], record["mirrored"]) == (side, side == "left")
        assert record["flat_hand_mean"] is False
    extras = Glb(tmp_path / "000004.glb").tree["asset"]["extras"]
    np.testing.assert_allclose(extras["intrinsics_image"], record["intrinsics_image"][0], rtol=1e-6)


@pytest.mark.parametrize(
    ("writer", "file", "kept"),
    [
        ("write_track_json", "track.json", {"track.npz"}),
        ("write_bvh", "hand.bvh", {"track.npz", "track.json", "hand.glb"}),
    ],
)
def test_a_disk_that_fills_ends_in_one_message_and_keeps_what_is_whole(
    writer: str,
    file: str,
    kept: set[str],
    checkpoint: Path,
    clip: Clip,
    side: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(path: Path, *_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(track_files, writer, full)
    arguments = [f"side={side}", "formats=[npz,json,glb,bvh]"]
    assert run(checkpoint, clip, tmp_path, *arguments) == 1
    message = capsys.readouterr().err
    assert message.count("error:") == 1
    assert f"No space left on device: '{tmp_path / file}'" in message
    assert "Traceback" not in message
    assert {path.name for path in tmp_path.iterdir()} == kept | {MANIFEST}
    assert len(read_track(tmp_path / "track.npz")["vertices"]) == len(HAND)
