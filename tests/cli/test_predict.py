"""``s2hand-predict``: files per frame, left hands mirrored back, nothing outside the folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from fixtures.hands import open_hands, pictures
from fixtures.runs import run_command
from fixtures.video import write_video
from s2hand.cli.predict import main
from s2hand.data.detections.base import Detections
from s2hand.data.detections.files import write_detections
from s2hand.data.frames.dataset import FramesDataset
from s2hand.export.codes import read_prediction
from s2hand.files.outputs import MANIFEST
from s2hand.geometry.camera import project
from s2hand.prediction.frames import choose_device, whole_pictures
from s2hand.prediction.inference import predict
from s2hand.prediction.pictures import FORMATS
from s2hand.training.build import load
from s2hand.types import HandBatch

WIDTH, HEIGHT = 320, 240


@pytest.fixture(scope="module")
def checkpoint(smoke_run: Path) -> Path:
    return smoke_run / "checkpoints" / "last.ckpt"


@dataclass(frozen=True)
class Folder:
    """Pictures of right hands, and their detections."""

    source: Path
    detections: Path
    keypoints: np.ndarray
    images: list[np.ndarray]


def write_pictures(folder: Path, names: Sequence[str], mirrored: bool = False) -> Folder:
    """Rendered hands on wide pictures; mirrored, they are left hands."""
    hand, camera = open_hands(len(names))
    crops, covers = pictures(hand, camera)
    keypoints = project(hand.joints, camera.intrinsics)[:, 0].numpy() + np.array([40, 8])
    source = folder / "pictures"
    source.mkdir(parents=True)
    images = []
    for name, crop, cover in zip(names, crops, covers, strict=True):
        image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        image[8:232, 40:264] = np.where(cover[..., None] > 0.5, crop, 90)
        images.append(np.ascontiguousarray(image[:, ::-1]) if mirrored else image)
        Image.fromarray(images[-1]).save(source / name, "JPEG" if "jpg" in name else "PNG")
    if mirrored:
        keypoints[..., 0] = WIDTH - 1 - keypoints[..., 0]
    found = Detections(tuple(names), keypoints, np.ones((len(names), 21)))
    write_detections(folder / "detections.json", found)
    return Folder(source, folder / "detections.json", keypoints, images)


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return write_pictures(tmp_path_factory.mktemp("right"), ["a.png", "b.jpg"])


@pytest.fixture(scope="module")
def predicted(right: Folder, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("predicted") / "new"
    arguments = [f"checkpoint={checkpoint}", f"source={right.source}", f"out={out}"]
    assert run_command(main, *arguments, f"detections={right.detections}") == 0
    return out


def test_every_frame_has_every_format_and_each_reads_again(predicted: Path, right: Folder) -> None:
    expected = {f"{stem}.{kind}" for stem in "ab" for kind in FORMATS}
    assert {path.name for path in predicted.iterdir()} == expected | {MANIFEST}
    npz, plain = read_prediction(predicted / "a.npz"), read_prediction(predicted / "a.json")
    assert npz.keys() == plain.keys()
    for name, value in npz.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_allclose(plain[name], value, atol=1e-6)
        else:
            assert plain[name] == value
    assert (npz["frames"], npz["side"], npz["hand_model"]) == (["a.png"], "right", "open")
    for kind in ("obj", "ply", "glb"):
        mesh = trimesh.load(predicted / f"a.{kind}", force="mesh", process=False)
        assert (mesh.vertices.shape, mesh.faces.shape) == ((778, 3), (1538, 3))
        vertices = np.asarray(mesh.vertices) * ([1, -1, -1] if kind == "glb" else 1)
        np.testing.assert_allclose(vertices, npz["vertices"][0], atol=1e-5)


def test_the_record_is_what_the_model_says(
    predicted: Path, right: Folder, checkpoint: Path
) -> None:
    dataset = FramesDataset(right.source, right.detections, keep_all=True)
    with torch.no_grad():
        prediction = load(checkpoint)(HandBatch.stack([dataset[1]]), render=False)
    record = read_prediction(predicted / "b.json")
    joints = prediction.hand.joints[0, 0].numpy()
    np.testing.assert_allclose(record["joints"][0], joints, atol=1e-5)
    K = dataset.frame_intrinsics[1].numpy()
    pixels = joints @ K.T
    np.testing.assert_allclose(
        record["joints_2d_image"][0], pixels[:, :2] / pixels[:, 2:], atol=0.01
    )


def test_the_overlay_is_the_picture_with_the_hand_on_it(predicted: Path, right: Folder) -> None:
    record = read_prediction(predicted / "a.npz")
    overlay = np.asarray(Image.open(predicted / "a.png")).astype(int)
    assert overlay.shape == (HEIGHT, WIDTH, 3)
    drawn = np.abs(overlay - right.images[0]).max(-1) > 30
    assert 0.005 < drawn.mean() < 0.9
    joints = record["joints_2d_image"][0]
    inside = joints[((joints > 3) & (joints < [WIDTH - 4, HEIGHT - 4])).all(-1)]
    assert len(inside) > 5
    assert all(
        drawn[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2].any() for x, y in inside
    )


def test_a_left_hand_comes_back_as_it_was_taken(
    predicted: Path, checkpoint: Path, tmp_path: Path
) -> None:
    left = write_pictures(tmp_path, ["a.png", "b.png"], mirrored=True)
    out = tmp_path / "out"
    arguments = [f"checkpoint={checkpoint}", f"source={left.source}", f"out={out}", "side=left"]
    assert run_command(main, *arguments, f"detections={left.detections}") == 0
    record, other = read_prediction(out / "a.npz"), read_prediction(predicted / "a.npz")
    assert (record["side"], other["side"]) == ("left", "right")
    np.testing.assert_allclose(record["joints"], other["joints"] * [-1, 1, 1], atol=1e-5)
    np.testing.assert_allclose(record["vertices"], other["vertices"] * [-1, 1, 1], atol=1e-5)
    pixels = other["joints_2d_image"].copy()
    pixels[..., 0] = WIDTH - 1 - pixels[..., 0]
    np.testing.assert_allclose(record["joints_2d_image"], pixels, atol=0.01)
    mesh = trimesh.load(out / "a.ply", process=False)
    whole = trimesh.load(predicted / "a.ply", process=False)
    assert mesh.volume == pytest.approx(whole.volume, rel=1e-3), "faces still look outwards"
    overlay = np.asarray(Image.open(out / "a.png")).astype(int)[:, ::-1]
    same = np.asarray(Image.open(predicted / "a.png")).astype(int)
    assert np.abs(overlay - same).mean() < 1


def test_without_detections_each_picture_is_the_crop(
    right: Folder, checkpoint: Path, tmp_path: Path
) -> None:
    arguments = [f"checkpoint={checkpoint}", f"source={right.source}", f"out={tmp_path}"]
    assert run_command(main, *arguments, "formats=[json]") == 0
    record = read_prediction(tmp_path / "a.json")
    side = max(WIDTH, HEIGHT)
    K, crop = record["intrinsics_image"][0], record["intrinsics_crop"][0]
    assert crop[0, 0] / K[0, 0] == pytest.approx(224 / side, rel=0.2)
    empty = whole_pictures(right.source)
    assert empty.names == ("a.png", "b.jpg")
    assert not empty.confidence.any()


def test_frames_without_a_hand_are_predicted_all_the_same(
    right: Folder, checkpoint: Path, tmp_path: Path
) -> None:
    confidence = np.ones((2, 21))
    confidence[1] = 0
    write_detections(
        tmp_path / "one.json", Detections(("a.png", "b.jpg"), right.keypoints, confidence)
    )
    arguments = [f"checkpoint={checkpoint}", f"source={right.source}", f"out={tmp_path / 'out'}"]
    assert (
        run_command(main, *arguments, f"detections={tmp_path / 'one.json'}", "formats=[npz]") == 0
    )
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {MANIFEST, "a.npz", "b.npz"}


def test_every_nth_frame_of_a_video(right: Folder, checkpoint: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "hand.mp4", [right.images[0]] * 5)
    names = tuple(f"{i:06d}" for i in range(5))
    found = Detections(names, np.repeat(right.keypoints[:1], 5, 0), np.ones((5, 21)))
    write_detections(tmp_path / "hand.json", found)
    arguments = [f"checkpoint={checkpoint}", f"source={video}", f"out={tmp_path / 'out'}"]
    arguments += [f"detections={tmp_path / 'hand.json'}", "every=2", "batch_size=2"]
    assert run_command(main, *arguments, "sequence=false", "formats=[json,png]") == 0
    files = sorted(path.name for path in (tmp_path / "out").iterdir() if path.name != MANIFEST)
    assert files == [f"{n:06d}.{kind}" for n in (0, 2, 4) for kind in ("json", "png")]
    assert read_prediction(tmp_path / "out" / "000004.json")["frames"] == ["000004"]


def test_refinement_fits_every_frame_for_itself(right: Folder, checkpoint: Path) -> None:
    module = load(checkpoint)
    dataset = FramesDataset(right.source, right.detections, keep_all=True)
    batch = HandBatch.stack([dataset[0], dataset[1]])
    plain, refined = predict(module, batch, 0), predict(module, batch, 12)
    for i in range(2):
        frame = batch[i : i + 1]
        with torch.no_grad():
            start = module.reconstructor.decode(
                plain[i : i + 1].hand.code, frame.camera, plain[i : i + 1].estimated_joints_2d
            )
            before = float(module.objective(start, frame).total)
            after = float(module.objective(refined[i : i + 1], frame).total)
        assert after < 0.95 * before
        alone = predict(module, frame, 12)
        torch.testing.assert_close(refined.hand.joints[i], alone.hand.joints[0])


def test_the_device_is_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert choose_device("auto") == torch.device(device)
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="device=meat: use auto, cpu or cuda"):
        choose_device("meat")


def test_hostile_file_names_stay_in_the_folder(checkpoint: Path, tmp_path: Path) -> None:
    names = ["..\\..\\up.png", "...png", "CON .png", "new\nline.png", "-o.png", "[bold]x.png"]
    folder = write_pictures(tmp_path, names)
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    out = tmp_path / "deep" / "out"
    arguments = [f"checkpoint={checkpoint}", f"source={folder.source}", f"out={out}"]
    assert run_command(main, *arguments, "formats=[json,png]") == 0
    written = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    written.remove(out / MANIFEST)
    assert len(written) == 2 * len(names)
    assert all(path.parent == out for path in written)
    frames = {json.loads(path.read_text())["frames"][0] for path in out.glob("[!.]*.json")}
    assert frames == set(names)


def test_a_picture_is_not_replaced_by_its_overlay(
    right: Folder, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, out in (("a.png", "a.png"), ("A.PNG", "A.png")):
        folder = tmp_path / name
        folder.mkdir()
        picture = folder / name
        shutil.copy(right.source / "a.png", picture)
        before = picture.read_bytes()
        arguments = [f"checkpoint={checkpoint}", f"source={picture}", f"out={folder}"]
        assert run_command(main, *arguments) == 1
        assert f"{folder / out} would replace the input {picture}" in capsys.readouterr().err
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {name: before}


def test_a_file_that_is_there_is_not_replaced_by_a_default_name(
    right: Folder, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b.json").write_text("mine")
    arguments = [f"checkpoint={checkpoint}", f"source={right.source}", f"out={tmp_path}"]
    assert run_command(main, *arguments, "formats=[json]") == 1
    assert f"{tmp_path / 'b.json'} exists and was not written" in capsys.readouterr().err
    assert (tmp_path / "b.json").read_text() == "mine"
    assert not (tmp_path / "a.json").exists(), "nothing was written"
    (tmp_path / "b.json").unlink()
    for formats, files in (("json,npz", {"a.json", "a.npz", "b.json", "b.npz"}),
                           ("npz", {"a.npz", "b.npz"})):  # fmt: skip
        assert run_command(main, *arguments, f"formats=[{formats}]") == 0
        assert {path.name for path in tmp_path.iterdir()} == files | {MANIFEST}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["checkpoint={real}"], "source is missing: give it on the command line"),
        (["checkpoint=none.ckpt", "source=."], "no checkpoint none.ckpt"),
        (["checkpoint={real}", "source=nowhere"], "nowhere"),
        (["checkpoint={real}", "source={empty}"], "holds no image"),
        (["checkpoint={real}", "source={right}", "formats=[json,stl]"], "formats=['stl']: for"),
        (["checkpoint={real}", "source={right}", "formats=json"], "formats=json: give a list"),
        (["checkpoint={real}", "source={right}", "batch_size=0"], "batch_size=0: give a whole"),
        (["checkpoint={real}", "source={right}", "every=0"], "every=0"),
        (["checkpoint={real}", "source={right}", "out={right}"], "a.png would replace the input"),
        (["checkpoint={real}", "source={right}", "detections=none.json"], "none.json: no such"),
        (
            ["checkpoint={real}", "source={right}", "detections={other}"],
            "no detection named 'a.png'",
        ),
        (["checkpoint={real}", "source={right}", "side=both"], "side='both'"),
        (["checkpoint={real}", "source={video}"], "is a clip: give detections=FILE"),
        (["checkpoint={real}", "source={video}", "sequence=false"], "is a video: without detect"),
    ],
)
def test_errors_are_one_message(
    arguments: list[str],
    said: str,
    checkpoint: Path,
    right: Folder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    write_detections(
        tmp_path / "other.json", Detections(("z.png",), right.keypoints[:1], np.ones((1, 21)))
    )
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    names = {
        "real": checkpoint, "right": right.source, "empty": tmp_path / "empty",
        "other": tmp_path / "other.json", "video": tmp_path / "clip.mp4",
    }  # fmt: skip
    filled = [argument.format(**names) for argument in arguments]
    assert run_command(main, f"out={tmp_path / 'out'}", *filled) == 1
    message = capsys.readouterr().err
    assert message.count("error:") == 1
    assert said in message
    assert "Traceback" not in message
    assert not (tmp_path / "out").exists()
