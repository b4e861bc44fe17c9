"""Checks that datasets share: readable files, plausible cameras, one report of what was bad."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from s2hand.checksums import read_verified


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: naming the file, if it is not JSON, or not what its checksum says.
    """
    content = read_verified(path)
    try:
        return json.loads(content.decode("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def check_depth(points: Float[np.ndarray, "*n 3"], source: str | Path) -> None:
    """Camera-space points must lie in front of an OpenCV camera, z > 0; NaN (no label) may pass.

    Raises:
        ValueError: naming the file and the row of the first point that does not.
    """
    behind = points[..., 2] <= 0
    if behind.any():
        row = tuple(int(i) for i in np.argwhere(behind)[0])
        raise ValueError(
            f"{source}: z = {points[..., 2][row]:.4f} m at {row}; OpenGL axes given as OpenCV? "
            "Multiply by (1, -1, -1)"
        )


def check_intrinsics(
    K: Float[np.ndarray, "n 3 3"], sizes: Int[np.ndarray, "n 2"], source: str | Path
) -> None:
    """Each K must be a pinhole matrix whose principal point lies near the middle of its image.

    A principal point a fifth of the image off the middle tells that K belongs to another image
    size, of which ``sizes`` are (width, height).

    Raises:
        ValueError: naming the source, the first value that does not fit, and the remedy.
    """
    pinhole = np.isfinite(K).all((1, 2)) & (K[:, 0, 0] > 0) & (K[:, 1, 1] > 0)
    pinhole &= (np.abs(K[:, 2] - [0, 0, 1]) < 1e-6).all(-1)
    if not pinhole.all():
        row = int(np.argmin(pinhole))
        raise ValueError(
            f"{source}: K = {K[row].tolist()} of sample {row}; "
            "expected pixels [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]"
        )
    central = (np.abs(K[:, :2, 2] / sizes - 0.5) <= 0.2).all(-1)
    if not central.all():
        row = int(np.argmin(central))
        cx, cy = K[row, :2, 2]
        raise ValueError(
            f"{source}: principal point ({cx:.1f}, {cy:.1f}) of sample {row} on an image of "
            f"{sizes[row][0]}x{sizes[row][1]}; K of about {2 * cx:.0f}x{2 * cy:.0f}? "
            "Scale K to the image (own frames: say intrinsics_size=[width, height])"
        )


def report(
    logger: logging.Logger,
    name: str,
    kept: int,
    total: int,
    reasons: Mapping[str, int],
    which: str = "kept",
) -> None:
    """Log once what a loader kept and why the rest was dropped, flagged or repaired.

    A warning where less than half is left: then the detections rather than the frames are at fault.
    ``which`` says what is counted, where more than that is kept.
    """
    level = logging.WARNING if 2 * kept < total else logging.INFO
    text = f" ({listed(reasons)})" if any(reasons.values()) else ""
    logger.log(level, "%s: %d of %d frames %s%s", name, kept, total, which, text)


def listed(reasons: Mapping[str, int]) -> str:
    """The counts that are not zero, in words."""
    return ", ".join(f"{reason}: {count}" for reason, count in reasons.items() if count)
