"""JSON: strict files, and long lists of arrays read row by row."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from s2hand.files.atomic import atomic_path

_OPENING = re.compile(r"\s*\[\s*")
_BETWEEN = re.compile(r"[\s,]*")


def write_json(path: str | Path, value: Any, indent: int | None = 2) -> None:
    """Write ``value`` as strict JSON, atomically.

    Raises:
        ValueError: if a number is not finite (JSON has no NaN; use None for a missing value).
    """
    try:
        text = json.dumps(value, indent=indent, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"cannot write {path}: {error}; write None for a missing value") from error
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def json_rows(
    text: str,
    source: str | Path,
    shape: tuple[int, ...],
    dtype: type[np.floating] = np.float64,
    start: int = 0,
) -> tuple[Float[np.ndarray, "n ..."], int]:
    """The JSON list of arrays that begins at ``start`` as [n, *shape], and where the list ends.

    Parsed row by row: lists of meshes have gigabytes of text, as Python floats four times that.

    Raises:
        ValueError: naming the source and the sample that does not fit.
    """
    decoder, rows = json.JSONDecoder(), []
    opening = _OPENING.match(text, start)
    if opening is None:
        raise ValueError(f"{source} is not a JSON list")
    position = opening.end()
    while position < len(text) and text[position] != "]":
        try:
            value, position = decoder.raw_decode(text, position)
            rows.append(np.asarray(value, dtype=dtype).reshape(shape))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{source}, sample {len(rows)} (expected {shape}): {error}") from error
        position = _BETWEEN.match(text, position).end()  # type: ignore[union-attr]
    if position >= len(text) or not rows:
        raise ValueError(f"{source} is empty, or cut short after {len(rows)} samples")
    return np.stack(rows), position + 1
