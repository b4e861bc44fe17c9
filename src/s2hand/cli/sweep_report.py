"""``s2hand-sweep-report``: the results of a study, read from the files of its runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from s2hand.export.charts import shortened
from s2hand.files.atomic import atomic_path
from s2hand.files.consoles import has_room
from s2hand.files.errors import EXPECTED, ended
from s2hand.files.outputs import Outputs
from s2hand.studies.comparison import SPLITS, Comparison, compare
from s2hand.studies.runs import FILES

_DESCRIPTION = """\
Compare the runs of a study: mean ± standard deviation over seeds, the best row marked.

It reads .hydra/overrides.yaml, metrics.json (which s2hand-evaluate writes), train.json and
failed.json of every folder below STUDY. It writes a Markdown table, the same table as CSV, and a
PNG of parallel coordinates and bars. Failed and unfinished runs are named.
"""
_EPILOG = "example: s2hand-sweep-report runs/synthetic_image --metric pa_mpjpe_mm error_2d_px"


def show(report: Comparison, console: Console) -> None:
    """Print the table and the remarks."""
    console.print(escape(report.caption()))
    if report.rows:
        table = Table()
        header, cells = report.table(bold="")
        for place, name in enumerate(header):
            side: JustifyMethod = "left" if place <= len(report.keys()) else "right"
            table.add_column(name, justify=side, overflow="fold")
        for place, row in enumerate(cells):
            words = (escape(shortened(cell, 28)) for cell in row)
            table.add_row(*words, style="bold" if place == 0 else None)
        has_room(console, table)
        console.print(table)
    for reason, names in report.remarks().items():
        console.print(f"[bold]{escape(reason)}[/]", *map(escape, names), sep="\n  ", soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print and write the report; returns 0, or 1 with the reason on stderr."""
    options = _parser().parse_args(arguments)
    console = Console(highlight=False)
    out: Path = options.out or options.study / "report.md"
    try:
        if out.suffix != ".md":
            raise ValueError(f"--out {out}: the report is Markdown, give a name ending in .md")
        report = compare(options.study, options.metric, options.split)
        show(report, console)
        texts = {out: report.markdown()}
        if report.rows:
            texts[out.with_suffix(".csv")] = report.csv()
        pictures = [out.with_suffix(".png")] if report.rows else []
        read = [run.folder / name for run in report.runs for name in FILES]
        outputs = Outputs(out.parent, f"sweep-report {out.name}", read)
        outputs.plan((p.name for p in [*texts, *pictures]), lambda path: path == options.out)
        with outputs:
            for path, text in texts.items():
                with atomic_path(path) as temporary:
                    temporary.write_text(text, encoding="utf-8")
            for path in pictures:
                report.draw(path)
    except (KeyboardInterrupt, *EXPECTED) as error:
        return ended(error)
    beside = " (.csv and .png beside it)" if report.rows else ""
    console.print(f"written: {out}{beside}", soft_wrap=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="s2hand-sweep-report",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", type=Path, help="the folder of a study, such as runs/demo")
    parser.add_argument(
        "--metric", nargs="+", default=[], metavar="NAME", help="columns; the first one decides"
    )
    parser.add_argument(
        "--split",
        choices=tuple(SPLITS),
        help="test: metrics.json; val: what training measured last; default: test if there is one",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the Markdown file; default: STUDY/report.md"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
