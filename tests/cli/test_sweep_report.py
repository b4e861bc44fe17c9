"""``s2hand-sweep-report``: what it prints and writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fixtures.studies import write_grid, write_run
from s2hand.cli.sweep_report import main


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), dtype=int)


def test_it_prints_and_writes_beside_the_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_grid(tmp_path / "study")
    write_run(tmp_path / "study" / "bad", ["seed=0"], error="ValueError: [red] is no colour")
    assert main([str(tmp_path / "study")]) == 0
    said = capsys.readouterr().out
    assert "30.10" in said
    assert "ValueError: [red] is no colour" in said  # not taken for markup
    names = {path.name for path in (tmp_path / "study").glob("report.*")}
    assert names == {"report.md", "report.csv", "report.png"}
    assert "| ★ 1 | 0.001 | clip3 | 3 |" in (tmp_path / "study" / "report.md").read_text()
    assert main([str(tmp_path / "study")]) == 0, "its own files are no runs"


def test_the_picture_shows_the_best_row_in_its_colour(tmp_path: Path) -> None:
    write_grid(tmp_path / "study")
    assert main([str(tmp_path / "study"), "--out", str(tmp_path / "out" / "x.md")]) == 0
    pixels = picture(tmp_path / "out" / "x.png")
    height, width, _ = pixels.shape
    assert 300 < height < 1500
    assert 600 < width < 2500
    orange = np.abs(pixels - (0xE0, 0x8A, 0x1E)).sum(-1) < 12
    above, below = np.split(orange, [int(0.55 * height)])
    assert above.any(axis=0).mean() > 0.5, "a line through the parallel coordinates"
    assert below.sum() > 2000, "a bar of every metric"


def test_a_hundred_rows_still_make_a_picture_of_bounded_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(100):
        told = [f"loss.photometric.weight={10 ** rng.uniform(-4, -2)}", f"window=clip{i % 3}"]
        write_run(tmp_path / "s" / str(i), told, test={"pa_mpjpe_mm": float(rng.uniform(8, 12))})
    assert main([str(tmp_path / "s")]) == 0
    assert picture(tmp_path / "s" / "report.png").shape[0] < 2000
    assert (tmp_path / "s" / "report.md").read_text().count("| clip") == 100


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none"], "no folder"),
        (["study", "--metric", "nope"], "no run has nope; there are pa_mpjpe_mm"),
        (["study", "--out", "x.html"], "--out x.html: the report is Markdown"),
    ],
)
def test_errors_are_one_message(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_grid(tmp_path / "study")
    assert main(arguments) == 1
    assert f"error: {said}" in capsys.readouterr().err
    assert not list(tmp_path.rglob("report.*"))


def test_without_results_only_the_text_is_written(tmp_path: Path) -> None:
    write_run(tmp_path / "s" / "a", error="ValueError: no")
    assert main([str(tmp_path / "s")]) == 0
    assert {path.name for path in (tmp_path / "s").glob("report.*")} == {"report.md"}
