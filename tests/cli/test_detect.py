"""``s2hand-detect``: what it writes, what it says, what it survives; the detector is a stand-in."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fixtures.video import damage, dot_centre, dot_frame, write_video
from s2hand.cli.detect import main
from s2hand.data.detections.files import list_tracks, read_detections
from s2hand.detect import model, recordings
from s2hand.detect.hands import FoundHand
from s2hand.detect.recordings import detect
from s2hand.files import progress

SHAPE = np.random.default_rng(0).uniform(-20, 20, (21, 2))


def hands_of(picture: np.ndarray) -> list[FoundHand]:
    """A right hand around the bright dot of a picture, none where it is flat."""
    if np.ptp(picture) < 50:
        return []
    return [FoundHand(SHAPE + dot_centre(picture), "right", 0.9, np.full(21, 0.8))]


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def search(
        frames: Iterable[tuple[np.ndarray, float]], *_: Any, **__: Any
    ) -> Iterator[list[FoundHand]]:
        for picture, _seconds in frames:
            yield hands_of(picture)

    monkeypatch.setattr(recordings, "search", search)
    monkeypatch.setattr(recordings, "version", lambda: "0")
    (tmp_path / "hand.task").touch()
    monkeypatch.setenv("S2HAND_HAND_LANDMARKER", str(tmp_path / "hand.task"))


DOTS = [(60.0 + 5 * i, 50.0) for i in range(8)]


def film(path: Path, **options: str) -> Path:
    return write_video(path, [dot_frame(160, 120, dot) for dot in DOTS], **options)


def pictures(folder: Path, dots: Iterable[tuple[float, float]] = DOTS) -> Path:
    folder.mkdir()
    for number, dot in enumerate(dots):
        Image.fromarray(dot_frame(160, 120, dot)).save(folder / f"{number}.png")
    return folder


def test_a_video_becomes_a_track(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    assert main([str(film(tmp_path / "hand.mp4")), "-o", str(out)]) == 0
    found = read_detections(out)
    assert found.image_size == (160, 120)
    np.testing.assert_allclose(found.keypoints, SHAPE + np.array(DOTS)[:, None], atol=1.5)
    np.testing.assert_allclose(found.confidence, 0.8)
    said = capsys.readouterr().out
    assert "right" in said
    assert str(out) in said
    content = json.loads(out.read_text())
    assert (content["source"], content["schema"]) == ("hand.mp4", "s2hand.detections/2")


def test_a_broken_picture_is_named_and_the_others_are_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = pictures(tmp_path / "photos")
    (folder / "3.png").write_bytes(b"broken")
    out = tmp_path / "out.json"
    assert main([str(folder), "-o", str(out)]) == 0
    assert "3.png" in caplog.text
    assert read_detections(out).names == tuple(f"{i}.png" for i in range(8) if i != 3)


def test_pictures_of_different_sizes_name_none(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos")
    Image.fromarray(dot_frame(200, 120, (80, 50))).save(folder / "9.png")
    detect(folder, tmp_path / "out.json")
    assert read_detections(tmp_path / "out.json").image_size is None


def test_not_one_readable_picture_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pictures(tmp_path / "photos", [])
    (folder / "0.png").write_bytes(b"broken")
    assert main([str(folder), "-o", str(tmp_path / "out.json")]) == 1
    assert "picture can be read" in capsys.readouterr().err


def test_no_hand_is_said_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_video(tmp_path / "grey.mp4", [np.full((120, 160, 3), 90, np.uint8)] * 5)
    out = tmp_path / "out.json"
    assert main([str(source), "-o", str(out)]) == 1
    assert "no hand was found in 5 frames" in capsys.readouterr().err
    assert list_tracks(out) == []
    with pytest.raises(ValueError, match="no hand was found"):
        detect(source, out)


def test_what_can_be_read_of_a_damaged_video_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_video(
        tmp_path / "hand.mp4", [dot_frame(160, 120, DOTS[i % 8]) for i in range(60)]
    )
    infos = detect(damage(source, 0.6, 300), tmp_path / "out.json")
    assert 0 < infos[0].frames < 60
    assert "the frames before that are used" in caplog.text


def test_two_people_are_two_tracks_and_the_message_says_how_to_choose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def two(frames: Iterable[Any], *_: Any, **__: Any) -> Iterator[list[FoundHand]]:
        for number, _frame in enumerate(frames):
            first = [FoundHand(SHAPE + np.array([40, 60]), "right", 0.9)] if number > 1 else []
            yield [*first, FoundHand(SHAPE + np.array([140, 60]), "right", 0.9, np.full(21, 0.7))]

    monkeypatch.setattr(recordings, "search", two)
    out = tmp_path / "out.json"
    assert main([str(film(tmp_path / "hand.mp4")), "-o", str(out)]) == 0
    assert [i.frames for i in list_tracks(out)] == [6, 8]  # by confidence times frames
    assert "track=N takes another" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "fine"),
    [('{"schema": "s2hand.detections/1"}', True), ("{}", False), ("not json", False)],
)
def test_only_files_of_detections_are_replaced(tmp_path: Path, content: str, fine: bool) -> None:
    out = tmp_path / "out.json"
    out.write_text(content)
    assert main([str(film(tmp_path / "hand.mp4")), "-o", str(out)]) == (0 if fine else 1)
    assert fine or out.read_text() == content


@pytest.mark.parametrize("name", ["a b.mp4", "[red]x[bold].mp4", "手.mp4", "-x.mp4", "<b>.mp4"])
def test_a_name_may_hold_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.move(film(tmp_path / "hand.mp4"), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert main([f"./{name}"]) == 0
    assert (tmp_path / f"{name}.detections.json").is_file()
    assert f"{name}.detections.json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give a video or a folder"),
        (["missing.mp4"], "missing.mp4: no such"),
        (["text.mp4"], "text.mp4"),
        (["empty"], "holds no image"),
        (["hand.mp4", "-o", "empty"], "is a folder"),
        (["hand.mp4", "--model", "none.task"], "none.task: no hand model there"),
    ],
)
def test_errors_are_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    film(tmp_path / "hand.mp4")
    (tmp_path / "text.mp4").write_text("no film")
    (tmp_path / "empty").mkdir()
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_the_model_is_made_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def get_model(path: Path | None, say: Callable[[str], None]) -> Path:
        say("pip fetches [36] MB")
        return tmp_path / "made.task"

    monkeypatch.setattr(model, "get_model", get_model)
    assert main(["--get-model"]) == 0
    out = f"pip fetches [36] MB\nhand model: {tmp_path / 'made.task'}\n"
    assert capsys.readouterr().out == out


def test_every_track_has_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "[bold] out.json"
    assert main([str(film(tmp_path / "hand.mp4")), "-o", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["track 0: right hand, 8 frames, confidence 0.80", f"detections: {out}"]


def test_without_a_terminal_lines_say_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    assert main([str(film(tmp_path / "[red].mp4")), "-o", str(tmp_path / "out.json")]) == 0
    said = capsys.readouterr().err.splitlines()
    assert [re.sub(r"\d+ s left", "N s left", line) for line in said] == [
        f"looking for hands in [red].mp4: frame {done} of 8, about N s left" for done in range(1, 8)
    ]


def test_ctrl_c_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> Iterator[list[FoundHand]]:
        raise KeyboardInterrupt

    monkeypatch.setattr(recordings, "search", interrupted)
    assert main([str(film(tmp_path / "hand.mp4")), "-o", str(tmp_path / "out.json")]) == 130
    assert capsys.readouterr().err == "error: interrupted; nothing was written\n"


@pytest.mark.parametrize("command", ["detect", "view"])
def test_ctrl_c_is_a_message_while_libraries_are_loaded(command: str) -> None:
    """The first seconds of a command."""
    interrupt = """
import sys
class Interrupt:
    def find_spec(self, name, *_):
        if name in ("numpy", "torch"):
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
from s2hand.cli.{} import main
sys.exit(main(["none"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", interrupt.format(command)], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (130, False)
    assert done.stderr.startswith("error: interrupted")
