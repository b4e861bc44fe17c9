"""Comparison of a study's runs in a table and a picture, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from s2hand.export import tables
from s2hand.export.charts import Coordinate, bars, parallel_coordinates, save
from s2hand.studies.runs import Metrics, Run, Split, number, read_study, rows

SPLITS: dict[Split, str] = {
    "test": "test set (metrics.json)",
    "val": "validation set (train.json)",
}
_USUAL = ("pa_mpjpe_mm", "pa_mpvpe_mm", "auc_pa_50mm", "error_2d_px")
_MOST_BARS = 30


@dataclass(frozen=True)
class Row:
    """Runs that differ only in the seed."""

    label: tuple[tuple[str, str], ...]
    """(key, value) of the overrides that differ between runs."""
    values: list[Metrics]

    @property
    def name(self) -> str:
        """The label on one line."""
        return ", ".join(f"{short(key)}={brief(value)}" for key, value in self.label) or "all"


@dataclass(frozen=True)
class Comparison:
    """A study's rows, sorted by the first metric, best first."""

    study: Path
    split: Split
    metrics: list[str]
    rows: list[Row]
    runs: list[Run]

    def keys(self) -> list[str]:
        """The overrides that distinguish rows."""
        return list(dict.fromkeys(key for row in self.rows for key, _ in row.label))

    def table(self, bold: str = "**") -> tuple[list[str], list[list[str]]]:
        """Header and cells: rank (with a star for the best), overrides, n, metrics.

        The best mean of every metric is enclosed in ``bold``.
        """
        winners = {m: tables.best([row.values for row in self.rows], m) for m in self.metrics}
        cells = []
        for place, row in enumerate(self.rows):
            label = dict(row.label)
            numbers = []
            for metric in self.metrics:
                text = tables.mean_and_deviation(row.values, metric)
                numbers.append(f"{bold}{text}{bold}" if winners[metric] == place else text)
            words = [brief(label.get(key, "")) for key in self.keys()]
            cells.append([self.rank(place), *words, str(len(row.values)), *numbers])
        return ["", *map(short, self.keys()), "n", *self.metrics], cells

    @staticmethod
    def rank(place: int) -> str:
        """The rank, with a star for the best row."""
        return "★ 1" if place == 0 else str(place + 1)

    def csv(self) -> str:
        """One line per row, with unrounded numbers."""
        header = ["best", *self.keys(), "n"]
        header += [f"{metric}_{part}" for metric in self.metrics for part in ("mean", "sd")]
        lines: list[list[object]] = []
        for place, row in enumerate(self.rows):
            label = dict(row.label)
            line: list[object] = [int(place == 0), *(label.get(key, "") for key in self.keys())]
            line.append(len(row.values))
            for metric in self.metrics:
                line += [tables.mean(row.values, metric), tables.deviation(row.values, metric)]
            lines.append(["" if cell != cell else cell for cell in line])  # NaN: no value
        return tables.comma_separated(header, lines)

    def remarks(self) -> dict[str, list[str]]:
        """Runs that are not in the table, by reason."""
        found: dict[str, list[str]] = {"failed": [], "not finished": [], "cannot be read": []}
        missing = f"no metrics of the {SPLITS[self.split]}"
        found[missing] = []
        for run in self.runs:
            name = str(run.folder)
            found["cannot be read"] += run.problems
            if run.failure is not None:
                found["failed"].append(f"{name}: {run.failure.splitlines()[0]}")
            elif not run.metrics and not run.finished and not run.problems:
                found["not finished"].append(name)
            elif self.split not in run.metrics and not run.problems:
                found[missing].append(name)
        return {reason: names for reason, names in found.items() if names}

    def markdown(self) -> str:
        """The table and the remarks as Markdown."""
        parts = [f"# {self.study.name}\n", self.caption() + "\n"]
        if self.rows:
            header, cells = self.table()
            parts.append(tables.markdown(header, cells, words=1 + len(self.keys())))
        for reason, names in self.remarks().items():
            parts.append(f"**{reason.capitalize()}:**\n")
            parts.append("".join(f"* `{name}`\n" for name in names))
        return "\n".join(parts)

    def caption(self) -> str:
        """A caption for the numbers."""
        if not self.rows:
            return "No run has metrics yet."
        return (
            f"Measured on the {SPLITS[self.split]}; mean ± standard deviation over n seeds; "
            f"★ is the best row by {self.metrics[0]}."
        )

    def draw(self, path: Path) -> None:
        """Draw parallel coordinates of all rows above bars of the best."""
        shown = self.rows[:_MOST_BARS]
        heights = [3.0, 0.8 + 0.3 * len(shown)]
        width = max(7.0, 2.6 * len(self.metrics) + 2.5, 1.6 * (len(self.keys()) + 2))
        figure = Figure(figsize=(width, sum(heights)), layout="constrained")
        above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
        columns = [[dict(row.label).get(key, "") for row in self.rows] for key in self.keys()]
        coordinates = [_coordinate(short(k), c) for k, c in zip(self.keys(), columns, strict=True)]
        first = [tables.mean(row.values, self.metrics[0]) for row in self.rows]
        measured = Coordinate.of_numbers(self.metrics[0], first)
        ranks = [i / max(1, len(first) - 1) for i in range(len(first))]
        parallel_coordinates(above.subplots(), [*coordinates, measured], ranks, best=0)
        title = f"{self.study.name}: {SPLITS[self.split].partition(' (')[0]}"
        if len(shown) < len(self.rows):
            title += f"; bars: the best {len(shown)} of {len(self.rows)}"
        above.suptitle(title, fontsize=10)
        results = {f"{self.rank(i)}  {row.name}": row.values for i, row in enumerate(shown)}
        bars(below, results, {m: m for m in self.metrics}, best=0)
        save(figure, path)


def compare(study: Path, metrics: Sequence[str] = (), split: Split | None = None) -> Comparison:
    """Read and compare the runs of a study.

    Args:
        study: folder of the runs.
        metrics: names of metrics; by default the usual ones.
        split: by default the test set if any run was evaluated, else the validation set.

    Raises:
        FileNotFoundError: the folder has no run.
        ValueError: no run has one of the metrics.
    """
    runs = read_study(study)
    split = split or ("test" if any("test" in run.metrics for run in runs) else "val")
    found = [
        Row(label, [dict(run.metrics[split]) for run in members])
        for label, members in rows(runs, split).items()
    ]
    there = list(dict.fromkeys(name for row in found for one in row.values for name in one))
    for name in metrics:
        if found and name not in there:
            raise ValueError(f"no run has {name}; there are {', '.join(there)}")
    chosen = list(metrics) or [name for name in _USUAL if name in there] or there[:4]
    if chosen:
        sign = 1 if tables.best([[{chosen[0]: 0.0}], [{chosen[0]: 1.0}]], chosen[0]) == 0 else -1
        found.sort(key=lambda row: _last_if_nan(sign * tables.mean(row.values, chosen[0])))
    return Comparison(study, split, chosen, found, runs)


def _last_if_nan(value: float) -> float:
    return float("inf") if value != value else value


def short(key: str) -> str:
    """The last two parts of a dotted key, enough to distinguish the weights of losses."""
    return ".".join(key.split(".")[-2:])


def brief(value: str) -> str:
    """A long number with four digits, other values unchanged."""
    found = number(value)
    return value if found is None or len(value) <= 8 else f"{found:.4g}"


def _coordinate(heading: str, values: Sequence[str]) -> Coordinate:
    """A coordinate to scale if all values are numbers, else one of words."""
    numbers = [found for value in values if (found := number(value)) is not None]
    if len(numbers) == len(values):
        return Coordinate.of_numbers(heading, numbers)
    return Coordinate.of_labels(heading, values)
