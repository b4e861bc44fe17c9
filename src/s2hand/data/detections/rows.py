"""Parts common to all formats of detection files: rows of 21 keypoints, names, checksums."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from s2hand.geometry.skeleton import NUM_JOINTS


def keypoint_row(path: Path, name: str, values: Any, width: int) -> Float[np.ndarray, "21 _"]:
    """21 rows of ``width`` numbers from nested or flat lists; null or [] means not detected."""
    if values is None or values == []:
        return np.zeros((NUM_JOINTS, width))
    try:
        row = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{path}: {name!r} has uneven or non-numeric keypoints: {error}"
        ) from error
    if row.size != NUM_JOINTS * width:
        raise ValueError(
            f"{path}: {name!r} has {row.size} numbers, expected {NUM_JOINTS} x {width}; "
            "write an undetected keypoint as 0 with confidence 0"
        )
    return row.reshape(NUM_JOINTS, width)


def image_size(path: Path, value: Any) -> tuple[int, int] | None:
    """(width, height) of the detected images; None if the file does not record it."""
    if value is None:
        return None
    if (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(v, int | float) and math.isfinite(v) and v >= 1 for v in value)
    ):
        return int(value[0]), int(value[1])
    raise ValueError(f"{path}: image_size {value!r}; give [width, height] in pixels")


def checksums(
    path: Path, names: Sequence[str], values: Sequence[Any]
) -> UInt8[np.ndarray, "n 32"] | None:
    """SHA-256 of images from 64 hex digits each; zeros for None, and None if all are None."""
    if not any(value is not None for value in values):
        return None
    rows = np.zeros((len(names), 32), np.uint8)
    for row, name, value in zip(rows, names, values, strict=True):
        if value is not None:
            if not (isinstance(value, str) and re.fullmatch("[0-9a-fA-F]{64}", value)):
                raise ValueError(
                    f"{path}: {name!r} has sha256 {value!r:.80}; expected 64 hex digits or null"
                )
            row[:] = np.frombuffer(bytes.fromhex(value), np.uint8)
    return rows


def distinct_names(path: Path, names: Sequence[Any]) -> tuple[str, ...]:
    """Names as strings; ValueError for a duplicate."""
    # The public detector wrote FreiHAND's image numbers in one version and file names in another.
    texts = tuple(f"{name:08d}" if isinstance(name, int) else str(name) for name in names)
    if len(set(texts)) != len(texts):
        name, count = Counter(texts).most_common(1)[0]
        raise ValueError(f"{path}: {name!r} is named {count} times")
    return texts
