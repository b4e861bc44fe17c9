"""``s2hand-data``: counts, exit codes, contact sheets."""

from __future__ import annotations

import argparse
import inspect
import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fixtures.dexycb import DexYcbTree
from fixtures.freihand import FreiHandTree
from fixtures.ho3d import Ho3dTree
from fixtures.rhd import RhdTree
from fixtures.stb import StbTree
from fixtures.video import dot_frame, truncate, write_video
from s2hand.cli.data import main
from s2hand.cli.data_check import EXAMPLES, add_check
from s2hand.data.detections.base import Detections
from s2hand.data.detections.files import read_detections, write_detections
from s2hand.data.detections.tracks import TrackKeypoints, write_tracks
from s2hand.data.recorded.formats import FORMATS


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2HAND_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def clip(tmp_path: Path) -> list[str]:
    """Arguments: a video of four frames, one of them without a hand."""
    write_video(tmp_path / "clip.mp4", [dot_frame(160, 120, (80, 60))] * 4)
    keypoints = 60 + 20 * np.random.default_rng(0).random((4, 21, 2))
    confidence = np.ones((4, 21))
    confidence[1] = 0
    found = Detections(tuple(f"{i:06d}" for i in range(4)), keypoints, confidence)
    write_detections(tmp_path / "found.json", found)
    return ["frames", str(tmp_path / "clip.mp4"), "--detections", str(tmp_path / "found.json")]


def rows(text: str) -> dict[str, str]:
    """The table's cells."""
    lines = [line.strip("│ ").split("│") for line in text.splitlines() if "│" in line]
    return {cells[0].strip(): cells[-1].strip() for cells in lines}


def test_frames_are_counted(clip: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *clip]) == 0
    counts = rows(capsys.readouterr().out)
    assert counts["usable"] == "3"
    assert counts["no keypoint detected"] == "1"


def test_one_of_several_hands_is_checked_and_converted(
    clip: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = read_detections(clip[-1])
    tracks = [
        TrackKeypoints("right", seen, found.keypoints[seen], np.full((len(seen), 21), 0.5))
        for seen in ([0, 2, 3], [3])
    ]
    write_tracks(clip[-1], found.names, tracks, (160, 120), "clip.mp4", "by hand")
    for track, usable in (("0", "3"), ("1", "1")):
        assert main(["check", *clip, "--track", track]) == 0
        assert rows(capsys.readouterr().out)["usable"] == usable
    output = tmp_path / "one.json"
    assert main(["convert", clip[-1], str(output), "--track", "1"]) == 0
    assert (read_detections(output).confidence > 0).any(-1).tolist() == [False] * 3 + [True]


def test_freihand_is_counted_and_drawn(
    freihand: FreiHandTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    arguments = ["check", "freihand", str(freihand.root), "--variants", "0", "3", "--labels"]
    arguments += ["--detections", str(freihand.training_detections), "--contact-sheet", str(sheet)]
    assert main(arguments) == 0
    counts = rows(capsys.readouterr().out)
    assert (counts["usable"], counts["no keypoint detected"]) == ("14", "2")
    with Image.open(sheet) as image:
        assert image.size == (6 * 224, 3 * 224)
        drawn = np.asarray(image).astype(int)
    raw = np.asarray(Image.open(freihand.root / "training" / "rgb" / "00000000.jpg")).astype(int)
    changed = np.abs(drawn[:224, :224] - raw).max(-1) > 60
    y, x = np.nonzero(changed)
    distance = np.hypot(
        x[:, None] - freihand.training_uv[0, :, 0], y[:, None] - freihand.training_uv[0, :, 1]
    )
    assert len(x) > 50
    assert distance.min(1).max() < 8


def test_ho3d_is_counted(
    ho3d: Ho3dTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(ho3d.root, tmp_path / "copy"))
    # Frames of different sequences have the same file name; one of them is broken.
    (root / "train" / "SM2" / "rgb" / "0010.png").write_bytes(b"")
    arguments = ["check", "ho3d", str(root), "--labels", "--detections", str(ho3d.detections)]
    assert main([*arguments, "--contact-sheet", str(tmp_path / "sheet.png")]) == 1
    output = capsys.readouterr().out
    counts = rows(output)
    assert (counts["usable"], counts["no meta file"], counts["unreadable"]) == ("24", "1", "1")
    assert "SM2/rgb/0010.png" in output.replace("\n", "")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.size == (6 * 224, 4 * 224)
    arguments = ["check", "ho3d", str(root), "--split", "evaluation"]
    assert main([*arguments, "--detections", str(ho3d.evaluation_detections)]) == 0


def test_dexycb_is_counted(dexycb: DexYcbTree, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["check", "dexycb", str(dexycb.root), "--setup", "s2", "--split", "test"]
    assert main([*arguments, "--labels", "--detections", str(dexycb.detections)]) == 0
    counts = rows(capsys.readouterr().out)
    assert (counts["usable"], counts["no label file"]) == ("10", "2")


def test_unreadable_images_fail_by_name(
    freihand: FreiHandTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(freihand.root, tmp_path / "copy"))
    path = root / "training" / "rgb" / "00000005.jpg"
    path.write_bytes(path.read_bytes()[:700])
    sheet = tmp_path / "sheet.png"
    arguments = ["check", "freihand", str(root), "--contact-sheet", str(sheet)]
    assert main([*arguments, "--detections", str(freihand.training_detections)]) == 1
    output = capsys.readouterr().out
    assert rows(output)["unreadable"] == "1"
    assert "00000005.jpg" in output
    assert sheet.is_file()


def test_unreadable_pictures_fail_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(dot_frame(160, 120, (80, 60))).save(folder / name)
    (folder / "b.png").write_bytes(b"")
    found = Detections(("a", "b"), np.full((2, 21, 2), 60.0), np.ones((2, 21)))
    write_detections(tmp_path / "found.json", found)
    detections = str(tmp_path / "found.json")
    assert main(["check", "frames", str(folder), "--detections", detections]) == 1
    output = capsys.readouterr().out
    assert rows(output)["usable"] == "1"
    assert "b.png" in output


def test_a_damaged_video_fails_with_what_is_left_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    noise = np.random.default_rng(0).integers(60, 200, (40, 120, 160, 3)).astype(np.uint8)
    path = write_video(tmp_path / "a.mp4", list(noise), codec="libx264", movflags="faststart")
    truncate(path, 0.5)
    found = Detections(tuple(map(str, range(40))), np.full((40, 21, 2), 60.0), np.ones((40, 21)))
    write_detections(tmp_path / "found.json", found)
    assert main(["check", "frames", str(path), "--detections", str(tmp_path / "found.json")]) == 1
    counts = rows(capsys.readouterr().out)
    usable, lost = int(counts["usable"]), int(counts["behind damage in the video"])
    assert 10 < usable < 25
    assert usable + lost == 40
    assert "a.mp4" in caplog.text


def test_errors_are_one_readable_message(
    clip: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "found.json").write_text("[1, 2]")
    assert main(["check", *clip]) == 1
    message = capsys.readouterr().err
    assert "found.json" in message
    assert "[xy, confidences, names]" in message
    assert "Traceback" not in message
    assert main(["check", *clip[:-1], str(tmp_path / "none.json")]) == 1
    assert "none.json" in capsys.readouterr().err


def test_convert_writes_our_format(
    freihand: FreiHandTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = str(freihand.training_detections), tmp_path / "own.json"
    assert main(["convert", source, str(output), "--image-size", "224", "224"]) == 0
    before, after = read_detections(source), read_detections(output)
    assert (after.names, after.image_size, after.side) == (before.names, (224, 224), "right")
    np.testing.assert_allclose(after.keypoints, before.keypoints, atol=1e-4)


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert "--contact-sheet sheet.png" in text
    for known in ("frames", *FORMATS, "packed"):
        assert f"s2hand-data check {known} " in text
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2


def test_every_example_can_be_typed() -> None:
    examples = [line.split() for line in EXAMPLES.splitlines()]
    assert len(examples) > len(FORMATS)
    parser = argparse.ArgumentParser()
    add_check(parser)
    for program, command, *arguments in examples:
        assert (program, command) == ("s2hand-data", "check")
        options = parser.parse_args(arguments)
        if arguments[0] in FORMATS:
            assert options.format == arguments[0]


def test_every_dataset_with_files_of_its_own_can_be_checked() -> None:
    """Those that conf/data offers, but those that are rendered, packed, or made of others."""
    chosen = {Path(file.name).stem for file in files("s2hand.conf").joinpath("data").iterdir()}
    others = {"frames", "video", "packed", "mixed"}
    others |= {name for name in chosen if name.startswith("synthetic")}
    assert chosen - others - {"__init__", "__pycache__"} == set(FORMATS)


def test_options_are_arguments_of_the_dataset() -> None:
    """Each value reaches the constructor under its name, whatever the flag is called."""
    for known in FORMATS.values():
        parser = argparse.ArgumentParser()
        chosen = {parser.add_argument(flag, **how).dest for flag, how in known.options}
        assert chosen <= set(inspect.signature(known.make).parameters)


def test_stb_is_counted(stb: StbTree, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["check", "stb", str(stb.root), "--detections", str(stb.detections), "--labels"]
    assert main([*command, "--cameras", "BB_left", "SK_color"]) == 0
    counts = rows(capsys.readouterr().out)
    assert (counts["usable"], counts["no image file"], counts["no keypoint detected"]) == (
        "18", "1", "1",
    )  # fmt: skip


def test_rhd_is_counted_and_drawn(
    rhd: RhdTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["check", "rhd", str(rhd.root), "--detections", str(rhd.detections), "--labels"]
    assert main([*command, "--contact-sheet", str(tmp_path / "sheet.png")]) == 0
    counts = rows(capsys.readouterr().out)
    assert (counts["usable"], counts["None in the annotation"]) == ("5", "2")
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    assert main([*command, "--split", "evaluation", "--hands", "dominant"]) == 0
    assert rows(capsys.readouterr().out)["usable"] == "5"
