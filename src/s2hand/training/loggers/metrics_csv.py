"""``metrics.csv``, which an interrupted run goes on with."""

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
    """Writes what is logged into ``metrics.csv``, row by row, and the configuration beside it.

    A row is what was logged at once: ``step`` counts optimizer steps from 0, ``epoch`` passes over
    the training set; what was not logged then is empty. Every row is in the file at once, so a
    killed run loses the row of its last step at most. (Lightning's CSVLogger deletes the file of a
    run that goes on, and holds up to 100 steps back.)

    Args:
        folder: of the run.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self._columns: list[str] = []
        self._goes_on = False

    @property
    def name(self) -> str:
        """None: the folder is the run's own."""
        return ""

    @property
    def version(self) -> str:
        """None, as above."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run's folder."""
        return str(self.path.parent)

    def go_on(self) -> None:
        """Keep what an earlier process logged, up to where this one begins to log."""
        self._goes_on = True

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Write the configuration as ``hparams.yaml``."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        save_hparams_to_yaml(self.path.with_name("hparams.yaml"), params)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add a row. The first one starts the file, or cuts off what it and the next replace."""
        row = {
            name: str(value.item() if isinstance(value, Tensor) else value)
            for name, value in {"epoch": 0, **metrics, "step": step or 0}.items()
        }
        if not self._columns:
            self._write([*(_before(row, _read(self.path)) if self._goes_on else []), row])
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
    """The rows of a file without the empty values; the last one may be half, and is left out."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        lines = [line for line in file if line.endswith("\n")]
    rows = csv.DictReader(lines)
    return [{name: value for name, value in row.items() if value} for row in rows]


def _before(first: Row, rows: Sequence[Row]) -> list[Row]:
    """The rows before the first that is logged again: a later step, or the same values of it."""
    step, values = int(first["step"]), first.keys() - {"epoch", "step"}
    for index, row in enumerate(rows):
        there = int(row["step"])
        if there > step or (there == step and values & row.keys()):
            return list(rows[:index])
    return list(rows)
