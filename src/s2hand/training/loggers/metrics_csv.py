"""``metrics.csv``, which a resumed run continues."""

from __future__ import annotations

import csv
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.core.saving import save_hparams_to_yaml
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import Tensor

from s2hand.files.atomic import atomic_path

Row = dict[str, str]


class MetricsCsv(Logger):
    """Writes metrics into ``metrics.csv``, row by row, and the configuration beside it.

    A row holds the values logged together: ``step`` counts optimizer steps from 0, ``epoch`` passes
    over the training set; other cells are empty. Rows are written immediately, so a killed run
    loses at most the row of its last step. (Lightning's CSVLogger deletes the file of a resumed run
    and buffers up to 100 steps.)

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self._columns: list[str] = []
        self._resumes = False

    @property
    def name(self) -> str:
        """Empty: the folder is the run's own."""
        return ""

    @property
    def version(self) -> str:
        """Empty, as above."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run's folder."""
        return str(self.path.parent)

    def resume(self) -> None:
        """Keep the rows of an earlier process up to the step where this one starts to log."""
        self._resumes = True

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Write the configuration as ``hparams.yaml``."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        save_hparams_to_yaml(self.path.with_name("hparams.yaml"), params)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add a row. The first one starts the file, or removes the rows that this run repeats."""
        row = {
            name: str(value.item() if isinstance(value, Tensor) else value)
            for name, value in {"epoch": 0, **metrics, "step": step or 0}.items()
        }
        if not self._columns:
            self._write([*(_before(row, _read(self.path)) if self._resumes else []), row])
        elif row.keys() <= set(self._columns):
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns).writerow(row)
        else:
            self._write([*_read(self.path), row])

    def _write(self, rows: Sequence[Row]) -> None:
        self._columns = sorted(set().union(*rows))
        with atomic_path(self.path) as path, path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)


def _read(path: Path) -> list[Row]:
    """The rows of a file without empty values; an incomplete last line is dropped."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        lines = [line for line in file if line.endswith("\n")]
    rows = csv.DictReader(lines)
    return [{name: value for name, value in row.items() if value} for row in rows]


def _before(first: Row, rows: Sequence[Row]) -> list[Row]:
    """The rows before the first that is logged again: a later step, or equal names of a step."""
    step, values = int(first["step"]), first.keys() - {"epoch", "step"}
    for index, row in enumerate(rows):
        there = int(row["step"])
        if there > step or (there == step and values & row.keys()):
            return list(rows[:index])
    return list(rows)
