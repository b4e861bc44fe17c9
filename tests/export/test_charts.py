"""Where charts put what they are given."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from s2hand.export.charts import BEST, Coordinate, bar_chart, bars, parallel_coordinates, shortened


def test_bars_have_the_length_of_their_means_and_a_dot_for_every_run() -> None:
    figure = Figure()
    results = {"a": [{"x": 1.0}, {"x": 3.0}], "b": [{"x": 5.0}]}
    bars(figure, results, {"x": "X, mm"}, best=1)
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [2, 5]
    assert [list(line.get_xdata()) for line in axes.lines] == [[1, 3], [5]]
    assert axes.patches[1].get_facecolor()[:3] == pytest.approx(
        tuple(int(BEST[i : i + 2], 16) / 255 for i in (1, 3, 5))
    )
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert axes.yaxis_inverted()


def test_rows_of_one_label_stay_two_bars() -> None:
    figure = Figure()
    long = "x" * 60
    bars(figure, {f"{long}1": [{"x": 1.0}], f"{long}2": [{"x": 2.0}]}, {"x": "x"})
    assert len({bar.get_y() for bar in figure.axes[0].patches}) == 2
    assert shortened(long, 10) == "xxxxxxxxx…"


def test_a_chart_is_written(tmp_path: Path) -> None:
    bar_chart({"a": [{"x": 1.0}]}, {"x": "X"}, tmp_path / "deep" / "plot.png")
    assert Image.open(tmp_path / "deep" / "plot.png").format == "PNG"


def test_numbers_are_to_scale() -> None:
    found = Coordinate.of_numbers("x", [1, 2, 5])
    assert found.positions == pytest.approx([0, 0.25, 1])
    assert found.ticks == {0: "1", 0.25: "2", 1: "5"}


def test_decades_are_equally_far_apart() -> None:
    found = Coordinate.of_numbers("x", [1e-4, 1e-3, 1e-2])
    assert found.positions == pytest.approx([0, 0.5, 1])
    assert Coordinate.of_numbers("x", [-1, 0, 99]).positions == pytest.approx([0, 0.01, 1])


def test_labels_do_not_overlap() -> None:
    found = Coordinate.of_numbers("x", [1.0, 1.01, 2.0])
    assert list(found.ticks.values()) == ["1", "2"]
    assert len(Coordinate.of_numbers("x", list(range(50))).ticks) == 5


def test_equal_values_are_in_the_middle() -> None:
    assert Coordinate.of_numbers("x", [3, 3]).positions == [0.5, 0.5]
    assert Coordinate.of_labels("x", ["a", "a"]).positions == [0.5, 0.5]


def test_words_are_equally_far_apart() -> None:
    found = Coordinate.of_labels("x", ["b", "a", "b", "c"])
    assert found.positions == [0, 0.5, 0, 1]
    assert found.ticks == {0: "b", 0.5: "a", 1: "c"}


def test_the_best_line_lies_on_top() -> None:
    axes = Figure().subplots()
    words, numbers = Coordinate.of_labels("w", ["a", "b"]), Coordinate.of_numbers("x", [1, 2])
    parallel_coordinates(axes, [words, numbers], [0, 1], best=1)
    first, second = axes.lines[:2]
    assert list(second.get_ydata()) == [1, 1]
    assert second.get_zorder() > first.get_zorder()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["w", "x"]
