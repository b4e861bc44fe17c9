"""``s2hand-predict`` on a clip: one hand, gaps, every file, any length in the same memory."""

from __future__ import annotations

import gc
import json
import re
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from fixtures.clips import FRAMES, GAPS, HAND, HEIGHT, WIDTH, Clip, write_clip
from fixtures.gltf import Glb
from fixtures.runs import run_command
from fixtures.video import damage, write_video
from s2hand.cli.predict import main
from s2hand.data.detections.base import Detections
from s2hand.data.frames.dataset import FramesDataset
from s2hand.data.frames.decode import read_video
from s2hand.export.codes import read_prediction
from s2hand.export.track import read_track
from s2hand.files.outputs import MANIFEST
from s2hand.geometry.camera import project
from s2hand.geometry.skeleton import JointConvention
from s2hand.hand.mano import ManoHead
from s2hand.prediction import clip
from s2hand.prediction.clip import ClipOptions, check_options, predict_track
from s2hand.prediction.film import _Films
from s2hand.training.build import load
from s2hand.training.module import S2Hand
from s2hand.types import HandCode


@pytest.fixture(scope="module", autouse=True)
def small_overlays() -> Any:
    """Overlays are rendered at a seventh of their size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clip, "OVERLAY_PX", 64)
        yield


@pytest.fixture(scope="module")
def checkpoint(smoke_run: Path) -> Path:
    return smoke_run / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module")
def module(checkpoint: Path) -> S2Hand:
    return load(checkpoint)


def run(checkpoint: Path, source: Clip, out: Path, *arguments: str) -> int:
    return run_command(
        main, f"checkpoint={checkpoint}", f"source={source.source}",
        f"detections={source.detections}", f"out={out}", *arguments,
    )  # fmt: skip


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def predicted(right: Clip, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("predicted") / "new"
    assert run(checkpoint, right, out, "batch_size=4") == 0
    return out


def hand_of(track: dict[str, Any]) -> Any:
    """The hand layer's word on the codes of a track."""
    n = len(track["frames"])
    constant = {
        "shape": np.broadcast_to(track["shape"], (n, 10)),
        "scale": np.full((n, 1), track["scale"], np.float32),
        "texture": np.broadcast_to(track["texture"], (n, 778, 3)),
    }
    names = ("pose", "rotation", "translation", "light")
    code = constant | {name: track[name] for name in names}
    return ManoHead("open")(HandCode(**{k: torch.tensor(v) for k, v in code.items()}))


def test_a_video_becomes_one_track_and_its_files(predicted: Path) -> None:
    files = {path.name for path in predicted.iterdir()}
    assert files == {
        "track.npz", "track.json", "overlay.mp4", "preview.mp4", "hand.glb", "hand.bvh", "obj",
        MANIFEST,
    }  # fmt: skip
    npz, plain = read_track(predicted / "track.npz"), read_track(predicted / "track.json")
    assert npz.keys() == plain.keys() | {"vertices"}
    for name, value in plain.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_allclose(npz[name], value, atol=1e-6)
        else:
            assert npz[name] == value
    assert npz["frames"] == [f"{number:06d}" for number in HAND]
    assert npz["frame_numbers"].tolist() == HAND
    np.testing.assert_allclose(npz["times"], np.array(HAND) / 30, atol=1e-4)
    assert npz["gaps"].tolist() == GAPS
    facts = {"fps": 30, "frame_step": 1, "side": "right", "mirrored": False, "smooth_sigma": 0,
             "hand_model": "open", "num_pca": 30, "flat_hand_mean": False}  # fmt: skip
    assert {name: npz[name] for name in facts} == facts
    expected = [(0.6 + 0.05 * k) * 19 / 21 for k in HAND]
    np.testing.assert_allclose(npz["confidence"], expected, rtol=1e-5)


def test_its_meshes_are_the_one_hand_of_its_codes(predicted: Path) -> None:
    track = read_track(predicted / "track.npz")
    posed = hand_of(track)
    np.testing.assert_allclose(track["vertices"], posed.vertices, atol=1e-5)
    np.testing.assert_allclose(track["joints"], posed.joints, atol=1e-5)
    np.testing.assert_allclose(track["quaternions"], posed.quaternions, atol=1e-5)
    assert {path.stem for path in (predicted / "obj").iterdir()} == set(track["frames"])
    for vertices, name in zip(track["vertices"], track["frames"], strict=True):
        mesh = trimesh.load(predicted / "obj" / f"{name}.obj", force="mesh", process=False)
        np.testing.assert_allclose(mesh.vertices, vertices, atol=1e-6)


def test_it_is_what_the_network_says_but_for_what_is_fused(
    predicted: Path, right: Clip, checkpoint: Path, tmp_path: Path
) -> None:
    track = read_track(predicted / "track.npz")
    out = tmp_path / "frames"
    arguments = ["sequence=false", "formats=[npz]", "batch_size=3"]
    assert run(checkpoint, right, out, *arguments) == 0
    alone = [read_prediction(out / f"{name}.npz") for name in track["frames"]]
    for name in ("pose", "rotation", "light"):
        each = np.concatenate([frame[name] for frame in alone])
        np.testing.assert_allclose(track[name], each, atol=1e-5)
    weights = track["confidence"] / track["confidence"].sum()
    for name in ("shape", "scale", "texture"):
        each = np.concatenate([frame[name] for frame in alone])
        mean = np.einsum("n,n...->...", weights, each)
        np.testing.assert_allclose(track[name], mean.squeeze(), atol=1e-5)
    before = np.concatenate([frame["joints_2d"] for frame in alone])
    assert np.abs(track["joints_2d"] - before).max() < 3, "the projection stays nearly where it was"


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return write_clip(tmp_path_factory.mktemp("left"), mirrored=True)


@pytest.fixture(scope="module")
def left_out(left: Clip, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("left-out")
    assert run(checkpoint, left, out, "side=left", "formats=[npz,glb,ply,mp4]") == 0
    return out


@pytest.mark.parametrize("side", ["right", "left"])
def test_pictures_crops_and_space_agree(side: str, request: pytest.FixtureRequest) -> None:
    source: Clip = request.getfixturevalue(side)
    out: Path = request.getfixturevalue("predicted" if side == "right" else "left_out")
    track = read_track(out / "track.npz")

    def into_crop(points: np.ndarray) -> np.ndarray:
        affine = track["affine"]
        return np.einsum("nij,nkj->nki", affine[:, :2, :2], points) + affine[:, None, :2, 2]

    joints = torch.tensor(track["joints"])
    for pixels, intrinsics in (("joints_2d", "crop"), ("joints_2d_image", "image")):
        projected = project(joints, torch.tensor(track[f"intrinsics_{intrinsics}"]))
        np.testing.assert_allclose(projected, track[pixels], atol=0.01)
    np.testing.assert_allclose(into_crop(track["joints_2d_image"]), track["joints_2d"], atol=0.02)
    frames = json.loads(source.detections.read_text())["frames"]
    detected = into_crop(np.array([frames[number]["keypoints"] for number in HAND])[:, 2:, :2])
    errors = np.linalg.norm(detected - track["joints_2d"][:, 2:], axis=-1).mean(-1)
    np.testing.assert_allclose(errors, track["error_2d_px"], atol=0.02)


def test_a_left_hand_comes_back_as_it_was_filmed(predicted: Path, left_out: Path) -> None:
    track, other = read_track(left_out / "track.npz"), read_track(predicted / "track.npz")
    assert (track["side"], track["mirrored"]) == ("left", True)
    flip = np.array([-1, 1, 1])
    # The two films are compressed each for itself, so the network sees them a little differently.
    np.testing.assert_allclose(track["joints"], other["joints"] * flip, atol=2e-3)
    np.testing.assert_allclose(track["shape"], other["shape"], atol=0.02)
    mesh = trimesh.load(left_out / "ply" / "000001.ply", process=False)
    assert mesh.volume > 0, "faces look outwards"
    np.testing.assert_allclose(mesh.vertices, track["vertices"][0], atol=1e-6)


@pytest.mark.parametrize("out", ["predicted", "left_out"])
def test_the_animation_moves_as_the_track(out: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(out)
    track, glb = read_track(folder / "track.npz"), Glb(folder / "hand.glb")
    for time, vertices in zip(track["times"], track["vertices"], strict=True):
        distance = np.linalg.norm(glb.vertices(time) * [1, -1, -1] - vertices, axis=-1)
        # What linear blend skinning leaves out: MANO's pose correctives.
        assert distance.mean() < 1e-3
        assert distance.max() < 8e-3


@pytest.mark.parametrize("out", ["predicted", "left_out"])
def test_the_movie_shows_every_frame_and_where_there_is_no_hand(
    out: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(out)
    source: Clip = request.getfixturevalue("right" if out == "predicted" else "left")
    track = read_track(folder / "track.npz")
    movie = [np.asarray(image).astype(int) for image in read_video(folder / "overlay.mp4")]
    assert len(movie) == FRAMES
    note = np.zeros((HEIGHT, WIDTH), bool)
    note[:30, :120] = True
    for number, (image, original) in enumerate(zip(movie, source.images, strict=True)):
        assert image.shape == (HEIGHT, WIDTH, 3)
        changed = np.abs(image - original).max(-1) > 40
        if number in HAND:
            joints = track["joints_2d_image"][HAND.index(number)]
            inside = joints[((joints > 3) & (joints < [WIDTH - 4, HEIGHT - 4])).all(-1)]
            near = [changed[v - 3 : v + 4, u - 3 : u + 4].any() for u, v in inside.astype(int)]
            assert len(near) > 5
            assert np.mean(near) > 0.9
        else:
            assert changed[note].sum() > 30, "a note"
            assert changed[~note].mean() < 0.01, "and the plain frame"


def test_the_preview_has_the_picture_beside_the_overlay(predicted: Path, right: Clip) -> None:
    preview = [np.asarray(image).astype(int) for image in read_video(predicted / "preview.mp4")]
    overlay = [np.asarray(image).astype(int) for image in read_video(predicted / "overlay.mp4")]
    for image, original, drawn in zip(preview, right.images, overlay, strict=True):
        assert image.shape == (HEIGHT, 2 * WIDTH, 3)
        assert np.abs(image[:, :WIDTH] - original).mean() < 4
        assert np.abs(image[:, WIDTH:] - drawn).mean() < 4
    with_hand = preview[HAND[0]]
    assert np.abs(with_hand[:, :WIDTH] - with_hand[:, WIDTH:]).mean() > 4, "they differ"


@pytest.mark.parametrize(
    ("size", "preview"), [((1281, 721), (960, 270)), ((99, 51), (200, 52)), ((2000, 1), (960, 2))]
)
def test_the_preview_is_small_and_even(
    size: tuple[int, int], preview: tuple[int, int], tmp_path: Path
) -> None:
    """Worked out by hand: halves at most 480 wide, odd sides grown by a pixel."""
    with ExitStack() as stack:
        films = _Films(stack, tmp_path, ["preview"], 30, size)
        films.write(Image.new("RGB", size, "red"), np.zeros((size[1], size[0], 3), np.uint8))
    (image,) = read_video(tmp_path / "preview.mp4")
    assert image.size == preview
    assert [path.name for path in tmp_path.iterdir()] == ["preview.mp4"]


# Which frames


def test_a_hand_in_one_frame_is_enough(checkpoint: Path, tmp_path: Path) -> None:
    one = write_clip(tmp_path, hand=[5])
    assert run(checkpoint, one, tmp_path / "out") == 0
    track = read_track(tmp_path / "out" / "track.json")
    assert (track["frames"], track["gaps"].tolist()) == (["000005"], [[0, 5], [6, 9]])
    assert len(list(read_video(tmp_path / "out" / "overlay.mp4"))) == FRAMES
    assert Glb(tmp_path / "out" / "hand.glb").vertices(5 / 30).shape == (778, 3)


def test_every_nth_frame_is_cropped_predicted_and_shown(
    right: Clip, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S2HAND_CACHE", str(tmp_path / "cache"))
    arguments = ["every=2", "formats=[json,mp4,png]"]
    assert run(checkpoint, right, tmp_path / "out", *arguments) == 0
    track = read_track(tmp_path / "out" / "track.json")
    assert track["frame_numbers"].tolist() == [2, 6, 8]
    assert (track["frame_step"], track["gaps"].tolist()) == (2, [[0, 2], [4, 6]])
    (crops,) = (tmp_path / "cache").rglob("image.npy")
    assert len(np.load(crops, mmap_mode="r")) == 3
    movie = list(read_video(tmp_path / "out" / "overlay.mp4"))
    assert len(movie) == 5
    pngs = sorted(path.name for path in (tmp_path / "out" / "png").iterdir())
    assert pngs == ["000002.png", "000006.png", "000008.png"]


def test_of_a_damaged_video_what_can_be_read_is_predicted(checkpoint: Path, tmp_path: Path) -> None:
    broken = write_clip(tmp_path, hand=range(FRAMES))
    damage(broken.source, 0.6)
    assert run(checkpoint, broken, tmp_path / "out", "formats=[json,mp4]") == 0
    frames = read_track(tmp_path / "out" / "track.json")["frames"]
    assert 1 <= len(frames) < FRAMES
    assert frames == [f"{number:06d}" for number in range(len(frames))]
    assert len(list(read_video(tmp_path / "out" / "overlay.mp4"))) == len(frames)


def test_a_folder_of_pictures_that_follow_each_other(
    right: Clip, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, image in enumerate(right.images):
        Image.fromarray(image).save(folder / f"{number:06d}.png")
    clip_of_pictures = Clip(folder, right.detections, right.images)
    arguments = ["sequence=true", "fps=10", "formats=[npz,mp4]"]
    assert run(checkpoint, clip_of_pictures, tmp_path / "out", *arguments) == 0
    track = read_track(tmp_path / "out" / "track.npz")
    assert track["gaps"].tolist() == GAPS
    np.testing.assert_allclose(track["times"], np.array(HAND) / 10)
    Image.fromarray(right.images[0][:100]).save(folder / "000008.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(clip, "_codes")  # refused before anything is predicted
        assert run(checkpoint, clip_of_pictures, tmp_path / "again", *arguments) == 1
    message = capsys.readouterr().err
    assert "000008.png is 320 x 100 pixels, 000000.png 320 x 240: a movie has one size" in message
    assert not (tmp_path / "again").exists()


def test_smoothing_is_asked_for_and_recorded(
    right: Clip, module: S2Hand, predicted: Path, tmp_path: Path
) -> None:
    options = ClipOptions(formats=["npz"], smooth_sigma=1.5)
    smooth = predict_track(module, right.dataset(), tmp_path, options)
    plain = predict_track(module, right.dataset(), tmp_path / "x", ClipOptions(formats=["json"]))
    assert smooth.jitter_mm_frame2 < 0.9 * plain.jitter_mm_frame2
    track = read_track(tmp_path / "track.npz")
    assert track["smooth_sigma"] == 1.5
    np.testing.assert_allclose(track["vertices"], hand_of(track).vertices, atol=1e-5)


def test_the_summary_counts_what_is_in_the_track(
    right: Clip, module: S2Hand, predicted: Path, tmp_path: Path
) -> None:
    summary = predict_track(module, right.dataset(), tmp_path, ClipOptions(formats=["npz"]))
    track = read_track(tmp_path / "track.npz")
    assert (summary.frames, summary.gaps, summary.missing_frames) == (6, 2, 3)
    # Every frame has the same 19 keypoints above 0.5.
    assert summary.error_2d_mean_px == pytest.approx(track["error_2d_px"].mean(), rel=1e-4)
    relative = track["joints"] - track["joints"][:, :1]
    runs = [relative[:3], relative[3:]]
    jitter = np.mean([np.linalg.norm(r[0] - 2 * r[1] + r[2], axis=-1).mean() for r in runs])
    assert summary.jitter_mm_frame2 == pytest.approx(1000 * jitter, rel=1e-3)
    assert summary.jitter_mm_s2 == pytest.approx(900 * 1000 * jitter, rel=1e-3)
    single = predict_track(module, write_clip(tmp_path, hand=[4]).dataset(), tmp_path,
                           ClipOptions(formats=["json"]))  # fmt: skip
    assert single.jitter_mm_frame2 is None
    assert single.error_2d_median_px is not None


def test_refined_frames_are_fused_too(right: Clip, module: S2Hand, tmp_path: Path) -> None:
    options = ClipOptions(formats=["json"], refine_steps=3)
    refined = predict_track(module, right.dataset(), tmp_path, options)
    plain = predict_track(module, right.dataset(), tmp_path, ClipOptions(formats=["json"]))
    assert refined.error_2d_mean_px < plain.error_2d_mean_px


# What the user has in the folder


@pytest.mark.parametrize("formats", ["[npz]", "[npz,mp4]"])
def test_a_clip_named_as_an_output_is_neither_removed_nor_replaced(
    formats: str, right: Clip, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "overlay.mp4"
    shutil.copy(right.source, source)
    before = source.read_bytes()
    code = run(checkpoint, Clip(source, right.detections, []), tmp_path, f"formats={formats}")
    assert code == int("mp4" in formats)
    if code:
        assert f"{source} would replace the input {source}" in capsys.readouterr().err
    assert source.read_bytes() == before
    assert (tmp_path / "track.npz").exists() == (code == 0)


def test_files_named_as_outputs_stay(right: Clip, module: S2Hand, tmp_path: Path) -> None:
    mine = ["preview.mp4", "hand.glb", "hand.bvh", "track.json", "obj/mine.obj"]
    (tmp_path / "obj").mkdir()
    for name in mine:
        (tmp_path / name).write_text("mine")
    predict_track(module, right.dataset(), tmp_path, ClipOptions(formats=["npz", "obj"]))
    for kind, name in (("preview", "preview.mp4"), ("glb", "hand.glb"), ("bvh", "hand.bvh")):
        with pytest.raises(ValueError, match=rf"{name} exists and was not written by"):
            predict_track(module, right.dataset(), tmp_path, ClipOptions(formats=["npz", kind]))
    assert {(tmp_path / name).read_text() for name in mine} == {"mine"}


def test_frames_of_an_earlier_prediction_do_not_stay(
    right: Clip, module: S2Hand, tmp_path: Path
) -> None:
    kinds = ["obj", "ply", "png"]
    for every, stems in ((1, HAND), (3, [3, 6])):
        dataset = right.dataset(every=every)
        predict_track(module, dataset, tmp_path, ClipOptions(formats=kinds))
        for kind in kinds:
            found = sorted(int(path.stem) for path in (tmp_path / kind).iterdir())
            assert found == stems
    predict_track(module, right.dataset(), tmp_path, ClipOptions(formats=["npz"]))
    assert {path.name for path in tmp_path.iterdir()} == {MANIFEST, "track.npz"}


@pytest.mark.parametrize("side", ["right", "left"])
def test_fingertips_are_those_of_the_side(
    side: str, right: Clip, left: Clip, checkpoint: Path, tmp_path: Path
) -> None:
    """In manopth's convention the middle finger's tip is another vertex on left hands."""
    module = load(checkpoint)
    module.reconstructor.hand.convention = JointConvention.preset("manopth")
    dataset = (left if side == "left" else right).dataset(side=side)
    predict_track(module, dataset, tmp_path, ClipOptions(formats=["npz", "bvh"]))
    track = read_track(tmp_path / "track.npz")
    tip, other = (445, 444) if side == "left" else (444, 445)
    middle = track["joints"][:, 12]
    np.testing.assert_allclose(middle, track["vertices"][:, tip], atol=1e-6)
    assert np.linalg.norm(middle - track["vertices"][:, other], axis=-1).min() > 1e-3


# Memory


def held_bytes() -> int:
    """What living tensors hold, and the arrays that look into them; views count once."""
    found = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in gc.get_objects()
        if type(tensor) is torch.Tensor and tensor.layout is torch.strided
    }
    return sum(found.values())


@pytest.mark.parametrize("last", ["predict", "frames_record"])
def test_memory_does_not_grow_with_the_length_of_the_video(
    last: str, module: S2Hand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of either pass: a frame's vertices or texture alone would be 9 kB."""
    function, size = getattr(clip, last), 8
    held: list[int] = []

    def watched(*arguments: Any) -> Any:
        result = function(*arguments)
        calls.append(None)
        if len(calls) * size == n:
            held.append(held_bytes())
        return result

    monkeypatch.setattr(clip, last, watched)
    for n in (24, 88):
        folder = tmp_path / str(n)
        folder.mkdir()
        source = write_video(folder / "hand.mp4", [np.full((48, 64, 3), 90, np.uint8)] * n)
        keypoints = np.random.default_rng(0).uniform(10, 40, (n, 21, 2))
        names = tuple(f"{i:06d}" for i in range(n))
        dataset = FramesDataset(source, Detections(names, keypoints, np.ones((n, 21))))
        calls: list[None] = []
        predict_track(module, dataset, folder, ClipOptions(["npz", "mp4", "glb"], size))
    short, long = held
    assert (long - short) / (88 - 24) < 3000


# What cannot be


def test_a_video_without_a_hand_says_so(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    none = write_clip(tmp_path, hand=[])
    assert run(checkpoint, none, tmp_path / "out") == 1
    message = capsys.readouterr().err
    assert "hand.mp4: none of its 9 frames can be used (no keypoint detected: 9)" in message
    assert not (tmp_path / "out").exists()


def test_a_dataset_of_frames_without_a_hand_says_so(module: S2Hand, tmp_path: Path) -> None:
    dataset = write_clip(tmp_path, hand=[]).dataset(keep_all=True)
    with pytest.raises(ValueError, match="no hand was detected in any of its 9 frames"):
        predict_track(module, dataset, tmp_path / "out", ClipOptions())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"formats": ["json", "stl"]}, "formats=['stl']: for a clip choose from npz, json, mp4"),
        ({"formats": "json"}, "formats=json: give a list, as in formats=[npz,json]"),
        ({"formats": []}, "formats=[]: for a clip choose from npz"),
        ({"batch_size": 0}, "batch_size=0: give a whole number, at least 1"),
        ({"batch_size": "many"}, "batch_size=many: give a whole number"),
        ({"refine_steps": -1}, "refine_steps=-1: give a whole number, at least 0"),
        ({"smooth_sigma": -1}, "smooth_sigma=-1: give a number"),
        ({"smooth_sigma": float("nan")}, "smooth_sigma=nan: give a number"),
        ({"fps": 0}, "fps=0: give frames per second"),
    ],
)
def test_options_that_cannot_be_name_the_choices(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        check_options(ClipOptions(**options))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["formats=json"], "formats=json: give a list"),
        (["sequence=false", "formats=[mp4]"], "formats=['mp4']: for independent pictures"),
        (["every=0"], "every=0: give a whole number, at least 1"),
        (["device=abacus"], "device=abacus: use auto, cpu or cuda"),
        (["detections=null"], "is a clip: give detections=FILE"),
    ],
)
def test_errors_are_one_message(
    arguments: list[str],
    said: str,
    right: Clip,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(checkpoint, right, tmp_path / "out", *arguments) == 1
    message = capsys.readouterr().err
    assert message.count("error:") == 1
    assert said in message
    assert "Traceback" not in message
    assert not (tmp_path / "out").exists()
