"""s2hand-data check of HanCo, InterHand2.6M and YouTube-3D-Hands; training from their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.hanco import write_hanco
from fixtures.interhand import write_interhand
from fixtures.youtube import write_youtube
from s2hand.cli.data import main


@pytest.mark.parametrize(
    ("kind", "write", "options", "line"),
    [
        ("hanco", write_hanco, ["--cameras", "0", "3", "--labels"], "no image file"),
        ("interhand", write_interhand, ["--labels"], "both hands"),
        ("youtube", write_youtube, [], "two hands of one side"),
    ],
)
def test_they_are_counted_and_drawn(
    kind, write, options, line, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = write(tmp_path / "tree")
    sheet = tmp_path / "look.png"
    command = ["check", kind, str(tree.root), "--detections", str(tree.detections), *options]
    assert main([*command, "--contact-sheet", str(sheet)]) == 0
    assert line in capsys.readouterr().out
    assert sheet.is_file()
