"""Writing files so that a reader never meets half of one; reading long JSON lists of arrays."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
from jaxtyping import Float

_OPENING = re.compile(r"\s*\[\s*")
_BETWEEN = re.compile(r"[\s,]*")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends without an error.

    The temporary keeps the suffix, since writers choose the format by it; missing folders are
    made. After an error or an interrupt it is removed and an older ``path`` stands untouched.

    Raises:
        OSError: the block's own, naming ``path`` where it named the temporary or no file.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        if error.filename in (None, temporary, str(temporary)):
            raise OSError(error.errno, error.strerror or str(error), str(target)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(folder: str | Path) -> None:
    """Make a folder and try whether files can be written there, before time is spent on them.

    Raises:
        OSError: they cannot; names the folder and the remedy.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        said = f"{error.strerror}: nothing can be written there, give another folder"
        raise OSError(error.errno, said, str(folder)) from error


def remove_leftovers(folder: str | Path) -> None:
    """Remove what :func:`atomic_path` left when its process was killed, and one folder below."""
    for pattern in (".*", "*/.*"):
        for path in Path(folder).glob(pattern):
            if re.fullmatch(r"\..+\.[0-9a-f]{8}(\.\w+)?", path.name) and path.is_file():
                path.unlink(missing_ok=True)


def default_root() -> Path:
    """Where what can be made again is kept: ``$S2HAND_CACHE``, or ``~/.cache/s2hand``."""
    return Path(os.environ.get("S2HAND_CACHE") or "~/.cache/s2hand").expanduser()


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
