"""A study as a table: means, deviations, the best, and what is missing."""

from __future__ import annotations

import csv
import io
import statistics
from pathlib import Path

import pytest

from fixtures.studies import write_grid, write_run
from s2hand.studies.comparison import brief, compare


def test_the_best_row_comes_first_and_is_marked(tmp_path: Path) -> None:
    write_grid(tmp_path)
    report = compare(tmp_path)
    assert report.split == "test"
    assert report.metrics == ["pa_mpjpe_mm", "auc_pa_50mm", "error_2d_px"]
    header, cells = report.table()
    assert header == ["", "photometric.weight", "window", "n", *report.metrics]
    assert [row[0] for row in cells] == ["★ 1", "2", "3", "4"]
    # 30.001, 30.101, 30.201: mean 30.101, sd 0.1; the area under the curve falls with the error.
    assert cells[0] == [
        "★ 1", "0.001", "clip3", "3", "**30.10 ± 0.10**", "**0.699 ± 0.001**", "**60.20 ± 0.20**",
    ]  # fmt: skip
    assert not any("**" in cell for row in cells[1:] for cell in row)


def test_the_first_metric_decides_and_more_of_some_is_better(tmp_path: Path) -> None:
    write_run(tmp_path / "a", ["x=1"], test={"pa_mpjpe_mm": 9, "auc_pa_50mm": 0.7})
    write_run(tmp_path / "b", ["x=2"], test={"pa_mpjpe_mm": 8, "auc_pa_50mm": 0.6})
    write_run(tmp_path / "c", ["x=3"], test={"pa_mpjpe_mm": 7})
    order = {
        metric: [dict(row.label)["x"] for row in compare(tmp_path, [metric]).rows]
        for metric in ("pa_mpjpe_mm", "auc_pa_50mm")
    }
    assert order == {"pa_mpjpe_mm": ["3", "2", "1"], "auc_pa_50mm": ["1", "2", "3"]}
    _, cells = compare(tmp_path, ["auc_pa_50mm"]).table()
    assert cells[-1][-1] == "–"


def test_csv_has_every_digit(tmp_path: Path) -> None:
    write_grid(tmp_path)
    lines = list(csv.DictReader(io.StringIO(compare(tmp_path).csv())))
    assert [line["best"] for line in lines] == ["1", "0", "0", "0"]
    first = lines[0]
    values = [30.001, 30.101, 30.201]
    assert float(first["pa_mpjpe_mm_mean"]) == pytest.approx(statistics.mean(values), rel=1e-12)
    assert float(first["pa_mpjpe_mm_sd"]) == pytest.approx(statistics.stdev(values), rel=1e-9)
    assert first["loss.photometric.weight"] == "0.001"


def test_one_seed_has_no_deviation(tmp_path: Path) -> None:
    write_run(tmp_path / "a", test={"pa_mpjpe_mm": 9})
    report = compare(tmp_path)
    assert report.table()[1] == [["★ 1", "1", "**9.00**"]]
    assert report.csv().splitlines()[1] == "1,1,9.0,"


def test_validation_serves_where_nothing_was_evaluated(tmp_path: Path) -> None:
    write_run(tmp_path / "a", ["x=1"], val={"pa_mpjpe_mm": 9})
    report = compare(tmp_path)
    assert report.split == "val"
    assert "validation set (train.json)" in report.markdown()
    # As soon as one run is evaluated, the table is of the test set and says who is missing.
    write_run(tmp_path / "b", ["x=2"], test={"pa_mpjpe_mm": 5}, val={"pa_mpjpe_mm": 4})
    report = compare(tmp_path)
    assert report.split == "test"
    assert len(report.rows) == 1
    assert report.remarks() == {"no metrics of the test set (metrics.json)": [str(tmp_path / "a")]}
    assert len(compare(tmp_path, split="val").rows) == 2


def test_what_is_not_in_the_table_is_named_with_its_reason(tmp_path: Path) -> None:
    write_run(tmp_path / "done", ["x=1"], val={"pa_mpjpe_mm": 9})
    write_run(tmp_path / "failed", ["x=2"], error="ValueError: out of | memory\nmore lines")
    write_run(tmp_path / "running", ["x=3"])
    damaged = write_run(tmp_path / "damaged", ["x=4"])
    (damaged / "metrics.json").write_text("{")
    report = compare(tmp_path)
    remarks = report.remarks()
    assert remarks["failed"] == [f"{tmp_path / 'failed'}: ValueError: out of | memory"]
    assert remarks["not finished"] == [str(tmp_path / "running")]
    (problem,) = remarks["cannot be read"]
    assert str(damaged / "metrics.json") in problem
    text = report.markdown()
    assert all(name in text for names in remarks.values() for name in names)


def test_a_study_without_any_result_has_no_rows_but_reasons(tmp_path: Path) -> None:
    write_run(tmp_path / "a", error="ValueError: no")
    report = compare(tmp_path, ["pa_mpjpe_mm"])
    assert report.rows == []
    assert "No run has metrics yet." in report.markdown()
    assert "ValueError: no" in report.markdown()


def test_an_unknown_metric_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    write_run(tmp_path / "a", test={"pa_mpjpe_mm": 9, "f5": 1})
    with pytest.raises(ValueError, match="no run has mpjpe; there are pa_mpjpe_mm, f5"):
        compare(tmp_path, ["mpjpe"])


def test_long_numbers_are_brief() -> None:
    assert brief("0.006074996073425695") == "0.006075"
    assert brief("0.005") == "0.005"
    assert brief("synthetic_video") == "synthetic_video"
