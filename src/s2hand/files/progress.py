"""Progress of a long loop: a bar in a terminal, a plain line at intervals in a log."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import track

PLAIN_SECONDS = 10.0
"""Interval of the lines in a log."""

T = TypeVar("T")


def progress(items: Iterable[T], doing: str, total: int, unit: str) -> Iterator[T]:
    """Yield the items, and report on stderr how many are done and the time left.

    Args:
        items: the items.
        doing: description of the work; any text, such as a file's name.
        total: number of items, exact or estimated.
        unit: name of one item.
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    if console.is_terminal:
        yield from track(items, escape(doing), total, console=console, transient=True)
        return
    begin = reported = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - reported >= PLAIN_SECONDS:
            left = (now - begin) / done * max(total - done, 0)
            console.print(
                f"{doing}: {unit} {done} of {total}, about {left:.0f} s left", markup=False
            )
            reported = now
        yield item
