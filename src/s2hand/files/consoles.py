"""Tables on consoles: a log has no width, and should not get that of a small terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

_WIDEST = 1000
"""Characters of the widest readable line."""


def has_room(console: Console, table: Table) -> bool:
    """Whether a table fits without folding a cell. A log is made wide enough."""
    options = console.options.update(max_width=_WIDEST)
    needed = console.measure(table, options=options).maximum
    if not console.is_terminal:
        console.width = max(console.width, needed)
    return needed <= console.width
