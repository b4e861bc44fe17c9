"""Detection on published datasets: they join the file written. A fake detector is used."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.datasets import FORMATS as FIXTURES
from s2hand.cli.data import main as check
from s2hand.cli.detect import main
from s2hand.data.detections.files import read_detections
from s2hand.data.recorded.formats import FORMATS
from s2hand.detect import datasets
from s2hand.detect.datasets import wanted_hands
from s2hand.detect.hands import FoundHand
from s2hand.files.locks import lock_file

GRID = np.stack(np.meshgrid(np.arange(7), np.arange(3)), -1).reshape(21, 2) * 8.0
PLACE = {"left": np.array([40.0, 60]), "right": np.array([120.0, 90])}


class Detector:
    """Finds a right and a left hand at known places in every picture, or the given ones."""

    def __init__(self) -> None:
        self.pictures = 0
        self.stop_after: int | None = None
        self.sides = ("right", "left")

    def __call__(
        self, frames: Iterable[tuple[np.ndarray, float]], *_: Any
    ) -> Iterator[list[FoundHand]]:
        for picture, _seconds in frames:
            if self.pictures == self.stop_after:
                raise KeyboardInterrupt
            self.pictures += 1
            yield [] if np.ptp(picture) == 0 else [
                FoundHand(GRID + PLACE[side], side, 0.9, np.full(21, 0.7))  # type: ignore[arg-type]
                for side in self.sides
            ]  # fmt: skip


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Detector:
    stand_in = Detector()
    monkeypatch.setattr(datasets, "search", stand_in)
    monkeypatch.setattr(datasets, "version", lambda: "0")
    (tmp_path / "hand.task").touch()
    monkeypatch.setenv("S2HAND_HAND_LANDMARKER", str(tmp_path / "hand.task"))
    return stand_in


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_what_the_dataset_joins(
    name: str, tmp_path: Path, detector: Detector, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = FIXTURES[name].write(tmp_path / "tree").root, tmp_path / "found.json"
    assert main(["--dataset", name, str(root), "-o", str(out), "--split", "train"]) == 0
    dataset = FORMATS[name].make(root, out, split="train")
    assert f"a hand in {len(dataset)} of {len(dataset)} frames" in capsys.readouterr().out
    # Only labelled frames can be dropped for a label; here no labels are read.
    assert len(dataset) == sum(map(len, wanted_hands(name, root, ["train"], {}).values()))
    found = read_detections(out)
    for i in range(len(dataset)):
        side = "left" if dataset.is_left(i) else "right"
        row = found.names.index(dataset.detection_name(i))
        np.testing.assert_allclose(found.keypoints[row], GRID + PLACE[side], atol=1e-4)


@pytest.mark.parametrize("name", FORMATS)
def test_pictures_that_changed_places_since_are_refused(
    name: str, tmp_path: Path, detector: Detector, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = FIXTURES[name].write(tmp_path / "tree").root, tmp_path / "found.json"
    assert main(["--dataset", name, str(root), "-o", str(out), "--split", "train"]) == 0
    dataset = FORMATS[name].make(root, out, split="train")
    first = dataset.path(0)
    other = next(dataset.path(i) for i in range(len(dataset)) if dataset.path(i) != first)
    content = first.read_bytes()
    first.write_bytes(other.read_bytes())
    other.write_bytes(content)
    with pytest.raises(ValueError, match="not the picture that its keypoints were detected in"):
        dataset[0]
    capsys.readouterr()
    assert check(["check", name, str(root), "--detections", str(out)]) == 1
    output = capsys.readouterr().out
    assert str(first) in output
    assert str(other) in output


def test_a_hand_taken_for_the_other_one_is_the_one_that_is_there(
    tmp_path: Path, detector: Detector
) -> None:
    root, out = FIXTURES["stb"].write(tmp_path / "tree").root, tmp_path / "found.json"
    detector.sides = ("right",)  # but STB shows left ones
    assert main(["--dataset", "stb", str(root), "-o", str(out)]) == 0
    assert (read_detections(out).confidence == 0.7).all()


def test_but_not_where_both_are_wanted(tmp_path: Path, detector: Detector) -> None:
    root, out = FIXTURES["rhd"].write(tmp_path / "tree").root, tmp_path / "found.json"
    detector.sides = ("right",)
    assert main(["--dataset", "rhd", str(root), "-o", str(out)]) == 0
    found = read_detections(out)
    for picture in {name.rpartition("/")[0] for name in found.names}:
        rows = {s: f"{picture}/{s}" in found.names for s in ("left", "right")}
        if all(rows.values()):
            assert not found.confidence[found.names.index(f"{picture}/left")].any()
            break
    else:
        pytest.fail("the fixture has no picture of two hands")


def test_it_resumes_where_it_was_stopped(
    tmp_path: Path,
    detector: Detector,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root, out = FIXTURES["ho3d"].write(tmp_path / "tree").root, tmp_path / "found.json"
    command = ["--dataset", "ho3d", str(root), "-o", str(out)]
    detector.stop_after = 5
    assert main(command) == 130
    assert "the same command resumes" in capsys.readouterr().err
    assert not out.exists()
    journal = next(tmp_path.glob(".found.json.*.lines"))
    with journal.open("a") as file:
        file.write('{"cut sh')
    detector.stop_after, detector.pictures = 2, 0
    assert main(command) == 130  # an incomplete line does not damage the next one
    detector.stop_after, detector.pictures = None, 0
    with caplog.at_level(logging.WARNING):
        assert main(command) == 0
    total = len(read_detections(out))
    assert detector.pictures == total - 7
    assert f"7 of {total} hands were searched before" in caplog.text
    assert not journal.exists()
    before = out.read_bytes()
    detector.pictures = 0
    assert main(command) == 0  # a complete run starts over, with the same result
    assert (detector.pictures, out.read_bytes()) == (total, before)


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_one_file_has_one_writer(
    tmp_path: Path, detector: Detector, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = FIXTURES["freihand"].write(tmp_path / "tree").root, tmp_path / "found.json"
    command = ["--dataset", "freihand", str(root), "-o", str(out)]
    with lock_file(tmp_path / ".found.json.lock"):
        assert main(command) == 1
    assert f"{out}: another s2hand-detect is at work on it" in capsys.readouterr().err
    assert main(command) == 0
    assert not list(tmp_path.glob(".found*"))


def test_an_unreadable_picture_is_named_and_has_no_hand(
    tmp_path: Path, detector: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    root, out = FIXTURES["freihand"].write(tmp_path / "tree").root, tmp_path / "found.json"
    (root / "training" / "rgb" / "00000001.jpg").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert main(["--dataset", "freihand", str(root), "-o", str(out)]) == 0
    assert "00000001.jpg" in caplog.text
    found = read_detections(out)
    assert [n for n, c in zip(found.names, found.confidence, strict=True) if not c.any()] == [
        "00000001"
    ]


def test_an_unknown_dataset_is_refused_with_the_known_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--dataset", "mpii", str(tmp_path)])
    assert "--dataset mpii: use one of freihand, ho3d" in capsys.readouterr().err


def test_options_are_those_of_the_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--dataset", "stb", "--help"])
    output = capsys.readouterr().out
    assert "--cameras" in output
    assert "--labels" not in output


def test_several_splits_in_one_file(tmp_path: Path, detector: Detector) -> None:
    root, out = FIXTURES["dexycb"].write(tmp_path / "tree").root, tmp_path / "found.json"
    splits = ["train", "val", "test"]
    chosen = ["--split", "train", "val", "--split", "test"]
    assert main(["--dataset", "dexycb", str(root), "-o", str(out), *chosen]) == 0
    sizes = [len(FORMATS["dexycb"].make(root, out, split=split)) for split in splits]
    assert all(sizes)
    assert len(read_detections(out)) == sum(sizes)


def test_splits_that_share_frame_names_are_refused(
    tmp_path: Path, detector: Detector, capsys: pytest.CaptureFixture[str]
) -> None:
    root = FIXTURES["freihand"].write(tmp_path / "tree").root
    command = ["--dataset", "freihand", str(root), "-o", str(tmp_path / "found.json")]
    assert main([*command, "--split", "train", "evaluation"]) == 1
    assert "write a file for each" in " ".join(capsys.readouterr().err.split())
    assert detector.pictures == 0


def test_a_damaged_journal_is_named(
    tmp_path: Path, detector: Detector, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = FIXTURES["freihand"].write(tmp_path / "tree").root, tmp_path / "found.json"
    command = ["--dataset", "freihand", str(root), "-o", str(out)]
    detector.stop_after = 2
    assert main(command) == 130
    journal = next(tmp_path.glob(".found.json.*.lines"))
    journal.write_text("{" + journal.read_text())
    assert main(command) == 1
    error = capsys.readouterr().err
    assert str(journal) in error
    assert "delete it" in error


def test_another_model_starts_over(tmp_path: Path, detector: Detector) -> None:
    root, out = FIXTURES["freihand"].write(tmp_path / "tree").root, tmp_path / "found.json"
    command = ["--dataset", "freihand", str(root), "-o", str(out)]
    detector.stop_after = 2
    assert main(command) == 130
    other = tmp_path / "other.task"
    other.write_bytes(b"another model")
    detector.stop_after, detector.pictures = None, 0
    assert main([*command, "--model", str(other)]) == 0
    assert detector.pictures == len(read_detections(out))


def test_a_picture_is_read_once(
    tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = FIXTURES["stb"].write(tmp_path / "tree").root, tmp_path / "found.json"
    wanted = wanted_hands("stb", root, ["train"], {})
    read: list[Path] = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or read_bytes(path))
    assert main(["--dataset", "stb", str(root), "-o", str(out), "--split", "train"]) == 0
    assert sorted(path for path in read if path in wanted) == sorted(wanted)
