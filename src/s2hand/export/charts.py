"""Charts of results: bars with a dot for every run, and parallel coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from s2hand.export.tables import Metrics, known, mean
from s2hand.files.atomic import atomic_path

BAR, DOT, BEST = "#9ab8d8", "#1f3a5f", "#e08a1e"


def bars(
    figure: Figure | SubFigure,
    results: Mapping[str, Sequence[Metrics]],
    metrics: Mapping[str, str],
    best: int | None = None,
) -> None:
    """One panel per metric (name to heading), one bar per row, one dot per run."""
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    rows = np.arange(len(results))
    colours = [BEST if row == best else BAR for row in rows]
    for axes, (metric, heading) in zip(panels, metrics.items(), strict=True):
        means = [mean(values, metric) for values in results.values()]
        axes.barh(rows, means, color=colours, height=0.7)
        for row, values in zip(rows, results.values(), strict=True):
            dots = known(values, metric)
            axes.plot(dots, [row] * len(dots), "o", color=DOT, markersize=3)
        axes.set_xlabel(heading)
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
    panels[0].set_yticks(rows, [shortened(name) for name in results])
    panels[0].invert_yaxis()


def bar_chart(
    results: Mapping[str, Sequence[Metrics]], metrics: Mapping[str, str], path: Path
) -> None:
    """:func:`bars` as a picture file."""
    size = (3.2 * len(metrics), 0.5 + 0.4 * len(results))
    figure = Figure(figsize=size, layout="constrained")
    bars(figure, results, metrics)
    save(figure, path)


def shortened(text: str, characters: int = 48) -> str:
    """The text, cut if it is too long for a label."""
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def save(figure: Figure, path: Path) -> None:
    """Write a picture atomically."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


@dataclass(frozen=True)
class Coordinate:
    """One axis of parallel coordinates: a heading and the position of each row on it.

    Attributes:
        positions: [rows], 0 (bottom) to 1.
        ticks: position to label.
    """

    heading: str
    positions: Sequence[float]
    ticks: Mapping[float, str]

    @classmethod
    def of_labels(cls, heading: str, labels: Sequence[str]) -> Coordinate:
        """Labels in order of first appearance, equally spaced."""
        order = list(dict.fromkeys(labels))
        places = np.linspace(0, 1, len(order)) if len(order) > 1 else np.array([0.5])
        where = dict(zip(order, places.tolist(), strict=True))
        return cls(heading, [where[v] for v in labels], {p: v for v, p in where.items()})

    @classmethod
    def of_numbers(cls, heading: str, values: Sequence[float]) -> Coordinate:
        """Numbers to scale; logarithmic if positive and spanning more than a decade."""
        array = np.asarray(values, dtype=float)
        logarithmic = array.min() > 0 and array.max() > 10 * array.min()
        scaled = np.log(array) if logarithmic else array
        low, span = scaled.min(), np.ptp(scaled)
        positions = (scaled - low) / span if span else np.full(len(array), 0.5)
        places = np.unique(positions)
        if len(places) <= 6:
            apart = [p for p, below in zip(places, [-1, *places], strict=False) if p - below > 0.06]
            ticks = {float(p): f"{array[np.argmax(positions == p)]:.4g}" for p in apart}
        else:
            at = np.linspace(0, 1, 5)
            shown = np.exp(low + at * span) if logarithmic else low + at * span
            ticks = {float(p): f"{v:.3g}" for p, v in zip(at, shown, strict=True)}
        return cls(heading, positions.tolist(), ticks)


def parallel_coordinates(
    axes: Axes, coordinates: Sequence[Coordinate], colours: Sequence[float], best: int | None
) -> None:
    """One line per row through all coordinates.

    ``colours`` [rows] range from 0 (good, dark) to 1; the best row is drawn on top.
    """
    scale = colormaps["Blues_r"](0.75 * np.asarray(colours, dtype=float))
    x = np.arange(len(coordinates))
    box = {"color": "white", "alpha": 0.75, "pad": 0.8}
    for row, colour in enumerate(scale):
        line = [c.positions[row] for c in coordinates]
        style = {"color": BEST, "linewidth": 2.5, "zorder": 3} if row == best else {"color": colour}
        axes.plot(x, line, **style)
    for place, coordinate in enumerate(coordinates):
        axes.axvline(place, color="black", linewidth=0.8, zorder=2)
        for position, label in coordinate.ticks.items():
            axes.annotate(
                shortened(label, 24), (place, position), (4, 0), textcoords="offset points",
                va="center", fontsize=8, zorder=4, bbox=box,
            )  # fmt: skip
    axes.set_xticks(x, [c.heading for c in coordinates])
    axes.set_xlim(-0.1, len(coordinates) - 0.6)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
