"""The table of an ablation, read from its rows' folders: each row against the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from s2hand.export import tables
from s2hand.files.consoles import has_room
from s2hand.files.json import read_json_object
from s2hand.studies.runs import Metrics, Run, read_study

ROW_FILE = "row.json"
"""File with the values of a row, written when it starts."""
_USUAL = (
    "pa_mpjpe_mm", "pa_mpvpe_mm", "rr_mpjpe_mm", "auc_pa_50mm", "error_2d_px",
)  # fmt: skip


@dataclass(frozen=True)
class AblationRow:
    """The result of one row."""

    name: str
    change: str
    metrics: Metrics
    reason: str | None
    """Why the row has no metrics, else None."""


@dataclass(frozen=True)
class AblationTable:
    """Rows in the order of the configuration; the first with metrics is the reference."""

    study: Path
    rows: Sequence[AblationRow]
    metrics: Sequence[str]

    @property
    def reference(self) -> AblationRow | None:
        """The row that the others are compared with."""
        return next((row for row in self.rows if row.metrics), None)

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Header, and the cells of each row: ``8.21 (+3.4 %)``, or why there is no number."""
        lines = []
        for row in self.rows:
            numbers = [self._cell(row, metric) for metric in self.metrics]
            if row.reason is not None and numbers:
                numbers[0] = f"failed: {row.reason}"
            lines.append([row.name, row.change, *numbers])
        return ["row", "change", *self.metrics], lines

    def _cell(self, row: AblationRow, metric: str) -> str:
        if metric not in row.metrics:
            return "–"
        value, reference = row.metrics[metric], self.reference
        text = tables.number(value)
        if reference is None or row is reference or not reference.metrics.get(metric):
            return text
        return f"{text} ({100 * (value / reference.metrics[metric] - 1):+.1f} %)"

    def markdown(self) -> str:
        """The table under its caption, as Markdown."""
        header, lines = self.cells()
        return f"# {self.study.name}\n\n{self.caption()}\n\n{tables.markdown(header, lines, 2)}"

    def caption(self) -> str:
        """A caption for the numbers."""
        checkpoint = read_json_object(self.study / "ablation.json")["checkpoint"]
        text = f"{checkpoint}, measured on the test set"
        if self.reference is not None:
            text += f"; in brackets the difference from {self.reference.name}"
        return f"{text}."

    def csv(self) -> str:
        """One line per row, with unrounded numbers."""
        lines = [
            [r.name, r.change, r.reason or "", *(r.metrics.get(m, "") for m in self.metrics)]
            for r in self.rows
        ]
        return tables.comma_separated(["row", "change", "failed", *self.metrics], lines)

    def show(self, console: Console) -> None:
        """Print the table, and below it why rows have no numbers."""
        table = self._table()
        console.print(table if has_room(console, table) else self._table(narrow=True))
        for row in self.rows:
            if row.reason is not None:
                console.print(f"[bold red]{escape(row.name)}:[/] {escape(row.reason)}")

    def _table(self, narrow: bool = False) -> Table:
        """The table for a console; ``narrow`` puts units and differences on separate lines."""
        table = Table(title=str(self.study), caption=self.caption())
        (row_header, _, *header), lines = self.cells()  # row names describe the changes
        if narrow:
            header = ["\n_".join(name.rsplit("_", 1)) for name in header]
        table.add_column(row_header, overflow="fold")
        for name in header:
            table.add_column(name, justify="right", overflow="fold")
        for row, (_, _, *numbers) in zip(self.rows, lines, strict=True):
            cells = ["failed"] if row.reason is not None else numbers
            if narrow:
                cells = [cell.replace(" (", "\n(") for cell in cells]
            table.add_row(escape(row.name), *map(escape, cells))
        return table


def ablation_table(study: Path, order: Sequence[str], metrics: Sequence[str] = ()) -> AblationTable:
    """Read the rows of a study: those of ``order`` first, then the others in its folder.

    Raises:
        FileNotFoundError: the folder has no row.
        ValueError: no row has one of the metrics.
    """
    found = read_study(study)
    runs = {run.folder.name: run for run in found if (run.folder / ROW_FILE).is_file()}
    names = [n for n in order if n in runs] + [n for n in runs if n not in order]
    rows = [_row(runs[name]) for name in names]
    there = list(dict.fromkeys(metric for row in rows for metric in row.metrics))
    for metric in metrics:
        if there and metric not in there:
            raise ValueError(f"metrics: no row has {metric}; there are {', '.join(there)}")
    chosen = list(metrics) or [metric for metric in _USUAL if metric in there] or ["metrics"]
    return AblationTable(study, rows, chosen)


def _row(run: Run) -> AblationRow:
    reason = run.failure or (run.problems[0] if run.problems else None)
    metrics = {} if reason else dict(run.metrics.get("test", {}))
    if not metrics and reason is None:
        reason = "not finished"
    change = str(read_json_object(run.folder / ROW_FILE).get("words", ""))
    return AblationRow(run.folder.name, change, metrics, reason and reason.splitlines()[0])
