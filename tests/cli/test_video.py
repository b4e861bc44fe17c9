"""``s2hand-video``: stages, what is reused, what stops it, whatever the files are called."""

from __future__ import annotations

import errno
import json
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fixtures.clips import FRAMES, HAND, Clip, write_clip
from s2hand.cli.video import main
from s2hand.data.detections.files import read_detections
from s2hand.data.detections.tracks import TrackKeypoints, write_tracks
from s2hand.export.track import read_track
from s2hand.files.locks import lock_folder
from s2hand.files.outputs import MANIFEST
from s2hand.prediction import video_job as job

QUICK = ("trainer.max_steps=2", "predict.formats=[npz,glb,mp4,preview]", "callbacks.panels=null",
         "callbacks.progress=null", "logger=none", "+trainer.enable_progress_bar=false",
         "stop.frames=2", "data.batch_size=1")  # fmt: skip
STAGES = ["adapt", "predict", "page"]


@pytest.fixture(scope="module")
def checkpoint(smoke_run: Path) -> str:
    return str(smoke_run / "checkpoints" / "last.ckpt")


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return write_clip(tmp_path_factory.mktemp("clip"))


def run(clip: Clip, out: Path, checkpoint: str, *more: str) -> int:
    arguments = [str(clip.source), str(out), "--detections", str(clip.detections)]
    return main([*arguments, "--checkpoint", checkpoint, *more, *QUICK])


@pytest.fixture(scope="module")
def made(right: Clip, checkpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run; read only."""
    out = tmp_path_factory.mktemp("video") / "hand"
    assert run(right, out, checkpoint) == 0
    return out


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "hand"))


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages that really run, in order."""
    names: list[str] = []
    for name, function in (("adapt", "_adapt"), ("predict", "predict_video"),
                           ("page", "write_viewer")):  # fmt: skip
        real = getattr(job, function)

        def noted(*args: Any, name: str = name, real: Any = real) -> Any:
            names.append(name)
            return real(*args)

        monkeypatch.setattr(job, function, noted)
    return names


def test_a_video_becomes_a_hand_one_can_turn(made: Path) -> None:
    files = {path.name for path in made.iterdir()}
    assert files == {"adapt", "track.npz", "hand.glb", "overlay.mp4", "preview.mp4", MANIFEST,
                     "summary.json", "stages.json", "index.html", "strip.png"}  # fmt: skip
    assert len(read_track(made / "track.npz")["frames"]) == len(HAND)
    report = json.loads((made / "adapt" / "adapt.json").read_text())
    assert report["residual_px"]["after"] <= report["residual_px"]["before"]


def test_the_same_command_does_nothing_twice(
    right: Clip, checkpoint: str, copy: Path, ran: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.stat().st_mtime_ns for p in copy.rglob("*")}
    assert run(right, copy, checkpoint) == 0
    assert ran == []
    assert {p: p.stat().st_mtime_ns for p in copy.rglob("*")} == before
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line.endswith("reused")] == [
        "1/3 adapt: reused", "2/3 predict: reused", "3/3 page: reused"
    ]  # fmt: skip
    assert said.count("reused") == 6, "no seconds of what did not run"
    assert "frames with a hand" in said


def test_another_smoothing_keeps_the_adaptation(
    right: Clip, checkpoint: str, copy: Path, ran: list[str]
) -> None:
    assert run(right, copy, checkpoint, "--smooth", "1.5") == 0
    assert ran == ["predict", "page"]
    assert read_track(copy / "track.npz")["smooth_sigma"] == 1.5


def test_another_setting_of_the_adaptation_does_it_again(
    right: Clip, checkpoint: str, copy: Path, ran: list[str]
) -> None:
    assert run(right, copy, checkpoint, "optim.optimizer.lr=3e-3") == 0
    assert ran == STAGES


def test_what_nothing_depends_on_does_nothing_again(
    right: Clip, checkpoint: str, copy: Path, ran: list[str]
) -> None:
    """A label, a value that is the default."""
    assert run(right, copy, checkpoint, "study=other", "seed=0") == 0
    assert ran == []


def test_another_setting_of_the_prediction_keeps_the_adaptation(
    right: Clip, checkpoint: str, copy: Path, ran: list[str]
) -> None:
    assert run(right, copy, checkpoint, "+predict.batch_size=4") == 0
    assert ran == ["predict", "page"]


def test_the_same_video_under_another_name_is_shown_under_it(
    right: Clip, checkpoint: str, copy: Path, tmp_path: Path, ran: list[str]
) -> None:
    source = tmp_path / "renamed.mp4"
    shutil.copy(right.source, source)
    assert run(Clip(source, right.detections, []), copy, checkpoint) == 0
    assert ran == ["page"]
    assert "renamed.mp4" in (copy / "index.html").read_text(encoding="utf-8")


def test_another_version_of_the_package_does_all_again(
    right: Clip, checkpoint: str, copy: Path, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "__version__", "99.0")
    assert run(right, copy, checkpoint) == 0
    assert ran == STAGES


def test_a_damaged_track_is_made_again(
    right: Clip, checkpoint: str, copy: Path, ran: list[str]
) -> None:
    track = copy / "track.npz"
    track.write_bytes(track.read_bytes()[:1000])
    assert run(right, copy, checkpoint) == 0
    assert ran[0] == "predict"
    assert len(read_track(track)["frames"]) == len(HAND)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (SystemExit(1), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "track.npz"), 1, "No space left"),
    ],
)
def test_what_stops_it_loses_no_stage(
    right: Clip, checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], ran: list[str], error: BaseException, code: int, words: str,
) -> None:  # fmt: skip
    def stop(*_: object) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "predict_video", stop)
        assert run(right, tmp_path, checkpoint) == code
    said = capsys.readouterr().err
    assert words in said
    assert said.endswith(f"kept in {tmp_path}: adapt; the same command resumes with predict\n")
    assert ran == ["adapt"]
    ran.clear()
    assert run(right, tmp_path, checkpoint) == 0
    assert ran == ["predict", "page"]


def test_without_adapting_the_checkpoint_predicts_as_it_is(
    right: Clip, checkpoint: str, tmp_path: Path, ran: list[str]
) -> None:
    assert run(right, tmp_path, checkpoint, "--no-adapt") == 0
    assert ran == ["predict", "page"]
    assert not (tmp_path / "adapt").exists()


def test_a_left_hand_is_mirrored_back(checkpoint: str, tmp_path: Path) -> None:
    left = write_clip(tmp_path / "left", mirrored=True)
    out = tmp_path / "out"
    assert run(left, out, checkpoint, "--no-adapt", "--side", "left") == 0
    track = read_track(out / "track.npz")
    assert (track["side"], track["mirrored"]) == ("left", True)


@pytest.mark.parametrize(
    "name",
    [
        "a b.mp4",
        "[red]x[bold].mp4",
        "a=1,b={c}.mp4",
        'it\'s "q" (1).mp4',
        "<img src=x onerror=alert(1)>.mp4",
        "手.mp4",
    ],
)
def test_a_name_may_hold_anything(
    right: Clip, checkpoint: str, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / name
    shutil.copy(right.source, source)
    out = tmp_path / f"out {name}"
    assert run(Clip(source, right.detections, []), out, checkpoint, "--no-adapt") == 0
    said = capsys.readouterr().out
    assert str(out) in said
    assert f"s2hand-view {shlex.quote(str(out))}\n" in said
    assert "<img src=x" not in (out / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.mp4", "out"], "missing.mp4: no such video"),
        (["${oc.env:HOME}.mp4", "out"], "rename it"),
        (["{clip}", "{clip}"], "is a file: give a folder"),
        (["{clip}", "out", "--no-adapt", "--checkpoint", "none"], "--no-adapt needs"),
        (["{clip}", "/proc/out"], "not writable, give another"),
        (["{clip}", "out", "--fps", "25"], "is a video, and has its own"),
        (["{clip}", "out", "fast"], "key=value"),
        (["{clip}", "out", "--fov", "190"], "between 0 and 180"),
        (["{clip}", "out", "--detections", "no.json"], "no.json: no such file"),
        (["{clip}", "out", "--detections", "{json}", "--track", "7"], "track 7"),
        (["{clip}", "out", "side=left"], "s2hand-video calls it --side SIDE"),
        (["{clip}", "out", "track=1"], "s2hand-video calls it --track N"),
        (["{clip}", "out", "source=b.mp4"], "s2hand-video calls it the first argument"),
        (["{clip}", "out", "dataset.source=b.mp4"], "s2hand-video calls it the first argument"),
        (["{clip}", "out", "data=synthetic"], "s2hand-video calls it the first argument"),
        (["{clip}", "out", "detections=b.json"], "s2hand-video calls it --detections FILE"),
        (["{clip}", "out", "checkpoint=b.ckpt"], "s2hand-video calls it --checkpoint FILE"),
        (["{clip}", "out", "out=there"], "s2hand-video calls it the second argument"),
        (["{clip}", "out", "horizontal_fov_deg=70"], "s2hand-video calls it --fov DEGREES"),
        (["{clip}", "out", "predict.smooth_sigma=2"], "s2hand-video calls it --smooth SIGMA"),
        (["{clip}", "out", "+predict.fps=25"], "s2hand-video calls it --fps FPS"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    right: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    known = {"{clip}": str(right.source), "{json}": str(right.detections)}
    assert main([known.get(a, a) for a in arguments]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert words in said
    assert "Traceback" not in said


def test_a_traceback_is_there_for_the_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2HAND_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError, match="no such video"):
        main(["missing.mp4", "out"])


def test_one_process_at_a_time_works_in_a_folder(
    right: Clip, tmp_path: Path, checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with lock_folder(tmp_path / "out") as free:
        assert free
        assert run(right, tmp_path / "out", checkpoint) == 1
    assert "another process is at work" in " ".join(capsys.readouterr().err.split())


def test_nothing_of_an_earlier_video_stays_beside_the_hand(
    right: Clip, copy: Path, checkpoint: str
) -> None:
    arguments = [str(right.source), str(copy), "--detections", str(right.detections)]
    fewer = [a for a in QUICK if not a.startswith("predict")] + ["predict.formats=[npz,glb]"]
    assert main([*arguments, "--checkpoint", checkpoint, *fewer]) == 0
    there = {path.name for path in copy.iterdir()}
    assert {"track.npz", "hand.glb", "index.html"} <= there
    assert not {"track.json", "hand.bvh", "overlay.mp4", "preview.mp4", "strip.png"} & there


def test_files_of_the_user_are_neither_replaced_nor_removed(
    right: Clip, checkpoint: str, tmp_path: Path, ran: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    source = tmp_path / "overlay.mp4"
    shutil.copy(right.source, source)
    clip, before = Clip(source, right.detections, []), source.read_bytes()
    assert run(clip, tmp_path, checkpoint) == 1
    assert f"{source} would replace the input {source}" in capsys.readouterr().err
    for name in ("index.html", "strip.png", "summary.json", "stages.json", "hand.glb"):
        out = tmp_path / name.replace(".", "-")
        out.mkdir()
        (out / name).write_text("mine")
        assert run(right, out, checkpoint) == 1
        assert f"{out / name} exists and" in capsys.readouterr().err
        assert {path.name for path in out.iterdir()} == {name}
        assert (out / name).read_text() == "mine"
    assert ran == []
    arguments = [str(source), str(tmp_path), "--detections", str(right.detections), "--no-adapt"]
    fewer = [a for a in QUICK if not a.startswith("predict")] + ["predict.formats=[npz,glb]"]
    assert main([*arguments, "--checkpoint", checkpoint, *fewer]) == 0
    assert source.read_bytes() == before
    assert read_track(tmp_path / "track.npz")["frames"]


def test_the_checkpoint_to_start_from_is_not_replaced(
    right: Clip, copy: Path, ran: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = copy / "adapt" / "checkpoints" / "last.ckpt"
    assert run(right, copy, str(checkpoint)) == 1
    assert f"{checkpoint} would replace the input {checkpoint}" in capsys.readouterr().err
    assert run(right, copy, str(checkpoint), "--no-adapt") == 0
    assert ran == [], "the track is of this checkpoint"


def test_a_changed_file_is_kept_under_another_name(
    right: Clip, checkpoint: str, copy: Path, ran: list[str]
) -> None:
    (copy / "hand.glb").write_bytes(b"mine")
    assert run(right, copy, checkpoint) == 0
    assert ran[0] == "predict"
    assert (copy / "hand.changed-1.glb").read_bytes() == b"mine"
    assert (copy / "hand.glb").read_bytes() != b"mine"


def test_a_folder_of_a_version_without_manifests_is_brought_up_to_date(
    right: Clip, checkpoint: str, copy: Path
) -> None:
    (copy / MANIFEST).unlink()
    (copy / "hand.bvh").write_text("mine")
    assert run(right, copy, checkpoint, "--smooth", "2") == 0
    assert read_track(copy / "track.npz")["smooth_sigma"] == 2
    assert (copy / "hand.bvh").read_text() == "mine"


@pytest.fixture
def detected(right: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The models that detection is called with; it finds the clip's hand."""
    models: list[Path] = []

    def found(source: Path, out: Path, *, model: Path, **_: object) -> None:
        models.append(model)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(right.detections, out)

    (tmp_path / "hand.task").write_bytes(b"a model")
    monkeypatch.setenv("S2HAND_HAND_LANDMARKER", str(tmp_path / "hand.task"))
    monkeypatch.setattr(job, "detect", found)
    return models


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trainer.steps=3"], "no such setting: trainer.steps (nearest: trainer.max_steps)"),
        (["predict.formats=[stl]"], "stl"),
        (["predict.formats=[npz,mp4]"], "the page needs hand.glb; add glb"),
        (["predict=null"], "shows what it predicts"),
        (["loss=[speed]"], "no loss named 'speed'; there are"),
        (["--checkpoint", "no.ckpt"], "no.ckpt"),
        (["hand=open"], "come with the checkpoint"),
        (["--smooth", "-1"], "smooth_sigma=-1.0"),
        (["trainer.max_steps=0"], "at least 1 step"),
        (["trainer.max_steps=abc"], "trainer: "),
        (["trainer.accelerator=abacus"], "abacus"),
        (["loss.photometric.speed=3"], "no such setting: loss.photometric.speed"),
        (["+loss.photometric.fn.speed=3"], "speed"),
    ],
)
def test_what_cannot_be_is_said_before_detection(
    right: Clip, tmp_path: Path, detected: list[Path], capsys: pytest.CaptureFixture[str],
    arguments: list[str], words: str,
) -> None:  # fmt: skip
    assert main([str(right.source), str(tmp_path / "out"), *arguments]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert words in said
    assert "append" not in said
    assert "kept" not in said
    assert detected == []


def test_detection_is_done_again_for_another_model_alone(
    right: Clip, checkpoint: str, tmp_path: Path, detected: list[Path], ran: list[str],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    arguments = [str(right.source), str(tmp_path / "out"), "--checkpoint", checkpoint]
    arguments += ["--no-adapt", *QUICK]
    assert main(arguments) == 0
    assert "1/3 detect: finding hands in hand.mp4" in capsys.readouterr().out
    assert main([*arguments, "trainer.max_steps=3"]) == 0
    assert len(detected) == 1
    assert ran == ["predict", "page"]
    shutil.copy(tmp_path / "hand.task", tmp_path / "same.task")
    assert main([*arguments, "--model", str(tmp_path / "same.task")]) == 0
    assert len(detected) == 1
    (tmp_path / "hand.task").write_bytes(b"another model")
    assert main(arguments) == 0
    assert len(detected) == 2
    monkeypatch.setattr(job, "version", lambda: "99.0")
    assert main(arguments) == 0
    assert len(detected) == 3
    assert ran == ["predict", "page"], "what it finds is the same"


def two_hands(clip: Clip, path: Path, names: list[str]) -> None:
    """Detections of a right hand in the frames that have one, and of a left one in two of them."""
    found = read_detections(clip.detections)
    write_tracks(
        path, names,
        [TrackKeypoints(side, rows, found.keypoints[rows], found.confidence[rows])
         for side, rows in (("left", HAND[:2]), ("right", HAND))],
        None, "clip", "by hand",
    )  # fmt: skip


def test_of_several_hands_the_one_seen_most_is_taken_and_the_others_named(
    right: Clip, checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two_hands(right, tmp_path / "two.json", [f"{i:06d}" for i in range(FRAMES)])
    both = Clip(right.source, tmp_path / "two.json", right.images)
    assert run(both, tmp_path / "main", checkpoint, "--no-adapt", "--side", "right") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "not used: track 1: left hand, 2 frames" in said
    choice = ["--side", "left", "--track", "1"]
    assert f"{' '.join(choice)} takes it instead" in said
    assert run(both, tmp_path / "other", checkpoint, "--no-adapt", *choice) == 0
    track = read_track(tmp_path / "other" / "track.npz")
    assert (track["side"], len(track["frames"])) == ("left", 2)


def test_a_broken_picture_of_a_folder_is_left_out(
    right: Clip, checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    detected: list[Path],
) -> None:  # fmt: skip
    folder = tmp_path / "frames"
    folder.mkdir()
    names = [f"{i}.png" for i in range(FRAMES)]
    for name, image in zip(names, right.images, strict=True):
        Image.fromarray(image).save(folder / name)
    (folder / "5b.png").write_bytes(b"broken")

    def found(source: Path, out: Path, **_: object) -> None:
        two_hands(right, out, names)

    monkeypatch.setattr(job, "detect", found)
    out = tmp_path / "out"
    arguments = [str(folder), str(out), "--checkpoint", checkpoint, "--no-adapt", "--fps", "25"]
    assert main([*arguments, *QUICK]) == 0
    track = read_track(out / "track.npz")
    assert track["fps"] == 25
    assert track["frames"] == [names[i] for i in HAND]


def test_a_missing_package_is_said(
    right: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], detected: list[Path],
) -> None:  # fmt: skip
    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("detection needs MediaPipe: pip install 's2hand[detect]'")

    def unknown() -> str:
        raise PackageNotFoundError("mediapipe")

    monkeypatch.setattr(job, "detect", missing)
    monkeypatch.setattr(job, "version", unknown)
    assert main([str(right.source), str(tmp_path / "out")]) == 1
    assert "pip install 's2hand[detect]'" in capsys.readouterr().err


def test_what_lies_below_a_folder_of_pictures_does_not_count(
    right: Clip, checkpoint: str, tmp_path: Path, ran: list[str]
) -> None:
    """Not even what comes out: it may lie there, and the second run finds it done."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, image in enumerate(right.images):
        Image.fromarray(image).save(folder / f"{number:06d}.png")
    pictures = Clip(folder, right.detections, right.images)
    assert run(pictures, folder / "out", checkpoint, "--no-adapt") == 0
    assert ran == ["predict", "page"]
    assert run(pictures, folder / "out", checkpoint, "--no-adapt") == 0
    assert ran == ["predict", "page"]


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("package", ["torch", "hydra", "rich", "numpy"])
def test_the_command_stands_before_what_takes_time_is_loaded(package: str) -> None:
    code = f"import sys, s2hand.cli.video; sys.exit({package!r} in sys.modules)"
    assert python(code).returncode == 0


@pytest.mark.parametrize("package", ["rich.console", "hydra", "torch"])
def test_ctrl_c_while_packages_are_loaded_is_one_line(
    right: Clip, tmp_path: Path, package: str
) -> None:
    code = f"""
import sys
from s2hand.cli.video import main
class Stop:
    def find_spec(self, name, *_):
        if name == {package!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Stop())
sys.exit(main(sys.argv[1:]))
"""
    done = python(code, str(right.source), str(tmp_path / "out"))
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


def test_of_no_hand_nothing_is_said_to_be_kept(
    right: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], detected: list[Path],
) -> None:  # fmt: skip
    def nothing(source: Path, out: Path, **_: object) -> None:
        raise ValueError(f"{source}: no hand was found")

    monkeypatch.setattr(job, "detect", nothing)
    assert main([str(right.source), str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"error: {right.source}: no hand was found\n"


def test_settings_are_not_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "required: source, out\n" in capsys.readouterr().err
