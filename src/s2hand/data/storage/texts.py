"""A long list of texts as two arrays, shared by the workers of a loader."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np


class Texts(Sequence[str]):
    """Names or paths of many files in one buffer instead of one object each.

    Reading a Python object writes to its reference count, so every worker that looks up names in a
    list ends with a copy of their memory. This buffer is never copied.

    >>> Texts(["0.jpg", "1.jpg"])[1]
    '1.jpg'
    """

    def __init__(self, texts: Iterable[str]) -> None:
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        self._ends = np.cumsum([0, *map(len, encoded)])
        self._bytes = np.frombuffer(b"".join(encoded), np.uint8)

    def __len__(self) -> int:
        """Number of texts."""
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """One text, or a list for a slice."""
        rows = range(len(self))[index]
        if isinstance(rows, range):
            return [self[row] for row in rows]
        start, end = self._ends[rows : rows + 2].tolist()
        return self._bytes[start:end].tobytes().decode("utf-8", "surrogateescape")

    def __eq__(self, other: object) -> bool:
        """Whether another sequence, such as a list, holds the same texts."""
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """The first three texts."""
        return f"Texts({self[:3]!r}{', ...' if len(self) > 3 else ''})"
