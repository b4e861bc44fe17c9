"""JSON: strict files, and long lists of arrays read row by row."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from s2hand.files.atomic import atomic_path
from s2hand.files.checksums import read_verified

_OPENING = re.compile(r"\s*\[\s*")
_BETWEEN = re.compile(r"[\s,]*")


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: naming the file, if it is not JSON or has another checksum.
    """
    content = read_verified(path)
    try:
        with _collector_paused():
            return json.loads(content.decode("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause Python's search for reference cycles, which walks the growing lists repeatedly.

    Parsing makes no cycles, and the search takes three quarters of the time of a 75 MB file.
    """
    if not gc.isenabled():  # another thread may have paused it and will resume it
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        ValueError: if it holds something else or cannot be read.
    """
    try:
        value = read_json(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} does not hold a JSON object")
    return value


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
    """The JSON list of arrays at ``start`` as [n, *shape], and the position after the list.

    Parsed row by row: lists of meshes have gigabytes of text, as Python floats four times that.
    For FreiHAND's annotations and prediction files of leaderboards, which may hold NaN (ijson
    refuses NaN).

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
