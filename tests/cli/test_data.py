"""``s2hand-data``: counts, exit codes, contact sheets."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fixtures.freihand import FreiHandTree
from fixtures.video import dot_frame, write_video
from s2hand.cli.data import main
from s2hand.data.detection_files import read_detections, write_detections
from s2hand.data.detections import Detections


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
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2
