"""``metrics.csv``: every row at once, and a run that goes on keeps what it had."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from s2hand.training.loggers.metrics_csv import MetricsCsv


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]


def log(folder: Path, *steps: int, goes_on: bool = False, validate: int | None = None) -> None:
    """Log as the trainer does: after a step its values, then those of a validation."""
    logger = MetricsCsv(folder)
    if goes_on:
        logger.resume()
    for step in steps:
        logger.log_metrics({"train/loss": torch.tensor(step / 2), "epoch": 0}, step)
        if step == validate:
            logger.log_metrics({"val/error": 10.0 * step, "epoch": 0}, step)


def test_a_row_is_in_the_file_when_it_is_logged(tmp_path: Path) -> None:
    logger = MetricsCsv(tmp_path / "run")
    logger.log_metrics({"train/loss": 0.1, "epoch": 0}, 0)
    assert rows(tmp_path / "run") == [{"train/loss": "0.1", "epoch": "0", "step": "0"}]
    logger.log_metrics({"val/error": torch.tensor(2.0), "epoch": 1}, 1)
    logger.log_metrics({"train/loss": 0.3, "epoch": 1}, 2)
    assert [row.get("train/loss") for row in rows(tmp_path / "run")] == ["0.1", None, "0.3"]
    assert rows(tmp_path / "run")[1] == {"val/error": "2.0", "epoch": "1", "step": "1"}
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["metrics.csv"]


@pytest.mark.parametrize("begin", range(5))
def test_a_run_that_goes_on_ends_with_the_file_of_one_that_was_not_stopped(
    tmp_path: Path, begin: int
) -> None:
    log(tmp_path / "whole", *range(6), validate=3)
    log(tmp_path / "parts", *range(5), validate=3)
    log(tmp_path / "parts", *range(begin, 6), goes_on=True, validate=3)
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")


def test_a_validation_alone_that_is_done_again_replaces_its_row(tmp_path: Path) -> None:
    log(tmp_path / "whole", *range(5), validate=3)
    log(tmp_path / "parts", *range(4), validate=3)
    logger = MetricsCsv(tmp_path / "parts")
    logger.resume()
    logger.log_metrics({"val/error": 30.0, "epoch": 0}, 3)
    logger.log_metrics({"train/loss": 2.0, "epoch": 0}, 4)
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")


def test_half_a_row_is_dropped(tmp_path: Path) -> None:
    log(tmp_path, 0, 1, 2)
    path = tmp_path / "metrics.csv"
    path.write_bytes(path.read_bytes()[:-3])
    log(tmp_path, 3, goes_on=True)
    assert [row["step"] for row in rows(tmp_path)] == ["0", "1", "3"]


def test_a_run_that_starts_over_starts_the_file_over(tmp_path: Path) -> None:
    log(tmp_path, *range(5))
    log(tmp_path, 3)
    assert [row["step"] for row in rows(tmp_path)] == ["3"]


def test_the_configuration_lies_beside(tmp_path: Path) -> None:
    MetricsCsv(tmp_path / "run").log_hyperparams({"seed": 3})
    assert (tmp_path / "run" / "hparams.yaml").read_text() == "seed: 3\n"
