"""How far a long loop is: a bar in a terminal, and a plain line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import track

PLAIN_SECONDS = 10.0
"""Between two lines of what is no terminal."""

T = TypeVar("T")


def progress(items: Iterable[T], doing: str, total: int, unit: str) -> Iterator[T]:
    """The items, while stderr says how many of them are done and how long the rest may take.

    Args:
        items: what is gone through.
        doing: in words; may hold anything, such as a file's name.
        total: how many there are, as far as is known.
        unit: what one of them is called.
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    if console.is_terminal:
        yield from track(items, escape(doing), total, console=console, transient=True)
        return
    begin = said = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - said >= PLAIN_SECONDS:
            left = (now - begin) / done * max(total - done, 0)
            console.print(
                f"{doing}: {unit} {done} of {total}, about {left:.0f} s left", markup=False
            )
            said = now
        yield item
