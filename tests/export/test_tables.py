"""Means and deviations over runs, and how they are written."""

from __future__ import annotations

import csv
import io
import math

import pytest

from s2hand.export.tables import (
    best,
    comma_separated,
    deviation,
    markdown,
    mean,
    mean_and_deviation,
    number,
)

RUNS = [{"a": 1.0, "b": 3.0}, {"a": 2.0}, {"a": 6.0}]


def test_mean_and_deviation_of_a_sample() -> None:
    assert mean(RUNS, "a") == 3
    assert deviation(RUNS, "a") == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert mean(RUNS, "b") == 3
    assert math.isnan(deviation(RUNS, "b"))
    assert math.isnan(mean(RUNS, "c"))


@pytest.mark.parametrize(
    ("value", "text"),
    [(11.787, "11.79"), (1.5, "1.50"), (0.8062, "0.806"), (0.01234, "0.0123"), (0, "0.00"),
     (-0.5, "-0.500"), (123.456, "123.46"), (float("nan"), "nan")],
)  # fmt: skip
def test_numbers_have_two_decimals_or_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_cells() -> None:
    assert mean_and_deviation(RUNS, "a") == "3.00 ± 2.65"
    assert mean_and_deviation(RUNS, "b") == "3.00 (n=1)"
    assert mean_and_deviation(RUNS, "c") == "–"
    assert mean_and_deviation([{"a": 0.5}, {"a": 0.6}], "a") == "0.550 ± 0.071"


def test_errors_are_best_when_small_and_areas_when_large() -> None:
    rows = [[{"pa_mpjpe_mm": 9.0, "auc_pa_50mm": 0.8, "f5_pa": 0.1}], [], [{"pa_mpjpe_mm": 8.0}]]
    assert best(rows, "pa_mpjpe_mm") == 2
    assert best([*rows, [{"auc_pa_50mm": 0.9}]], "auc_pa_50mm") == 3
    assert best([[{"f5_pa": 0.2}], *rows], "f5_pa") == 0
    assert best(rows, "other") is None


def test_markdown_keeps_columns_apart() -> None:
    text = markdown(["row", "x"], [["a|b", "1"]])
    assert text == "| row | x |\n| --- | ---: |\n| a\\|b | 1 |\n"


def test_csv_can_be_read_back() -> None:
    text = comma_separated(["loss", "x"], [["[a,b]", 1.5], ['say "x"', ""]])
    assert list(csv.reader(io.StringIO(text))) == [
        ["loss", "x"], ["[a,b]", "1.5"], ['say "x"', ""],
    ]  # fmt: skip
