"""Tables of results: mean and standard deviation over runs that differ only in the seed."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence

import numpy as np
from rich.table import Table

Metrics = dict[str, float]
"""Values of one run by name; names include units."""
_HIGHER_IS_BETTER = {"auc", "f5", "f15"}
"""Parts of names such as ``auc_pa_50mm`` or ``freihand/pa_f5``."""


def known(values: Sequence[Metrics], metric: str) -> list[float]:
    """The values of a metric in the runs that have it."""
    return [one[metric] for one in values if metric in one]


def mean(values: Sequence[Metrics], metric: str) -> float:
    """Mean of a metric over the runs that have it; NaN if none has."""
    found = known(values, metric)
    return float(np.mean(found)) if found else float("nan")


def deviation(values: Sequence[Metrics], metric: str) -> float:
    """Sample standard deviation (n - 1) over the runs that have a metric; NaN for fewer than 2."""
    found = known(values, metric)
    return float(np.std(found, ddof=1)) if len(found) > 1 else float("nan")


def number(value: float) -> str:
    """Two decimals, or more to show three digits."""
    return f"{value:.{_decimals(value)}f}"


def _decimals(value: float) -> int:
    if not value or not math.isfinite(value):
        return 2
    return max(2, 2 - math.floor(math.log10(abs(value))))


def mean_and_deviation(values: Sequence[Metrics], metric: str) -> str:
    """``mean ± sd``, ``mean`` for a single run, ``–`` for none; ``(n=k)`` if some lack it."""
    found = known(values, metric)
    if not found:
        return "–"
    center = mean(values, metric)
    text = number(center)
    if len(found) > 1:
        text += f" ± {deviation(values, metric):.{_decimals(center)}f}"
    return text if len(found) == len(values) else f"{text} (n={len(found)})"


def best(rows: Sequence[Sequence[Metrics]], metric: str) -> int | None:
    """The index of the row with the best mean of a metric; None if no row has it.

    Small errors are best, and large areas under curves and F-scores.
    """
    sign = -1 if _HIGHER_IS_BETTER & set(re.split("[/_]", metric)) else 1
    means = [sign * mean(row, metric) for row in rows]
    return None if np.isnan(means).all() else int(np.nanargmin(means))


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """A Markdown table; the first ``words`` columns are text, the others numbers."""
    marks = ["---"] * words + ["---:"] * (len(header) - words)
    lines = [header, marks, *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def comma_separated(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A CSV table, quoted where needed."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def metrics_table(title: str, columns: dict[str, dict[str, float]]) -> Table:
    """A table with a row per metric and the given columns."""
    table = Table(title=title)
    table.add_column("metric")
    names = list(dict.fromkeys(name for values in columns.values() for name in values))
    for column in columns:
        table.add_column(column, justify="right")
    for name in names:
        cells = [f"{v[name]:.3f}" if name in v else "-" for v in columns.values()]
        table.add_row(name, *cells)
    return table
