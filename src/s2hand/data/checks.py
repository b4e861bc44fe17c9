"""Checks shared by the datasets: plausible cameras and depths, one report of bad frames."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

MIN_FOCAL, MAX_FOCAL = 0.2, 20.0
"""Focal lengths in units of the longer image side: fields of view of 136 to 3 degrees."""


def check_depth(
    points: Float[np.ndarray, "n p 3"], source: str | Path, names: Sequence[str] = ()
) -> None:
    """Check that points are in front of an OpenCV camera, z > 0; NaN (no label) passes.

    Raises:
        ValueError: naming the source, the sample (if there are names), row and column of the first
            point with z <= 0.
    """
    behind = points[..., 2] <= 0
    if behind.any():
        row, column = (int(i) for i in np.argwhere(behind)[0])
        name = f", {names[row]}" if names else ""
        raise ValueError(
            f"{source}{name}: z = {points[row, column, 2]:.4g} m at {row, column}; OpenGL axes "
            "given as OpenCV (multiply by (1, -1, -1)), or a damaged file?"
        )


def check_intrinsics(
    K: Float[np.ndarray, "n 3 3"],
    sizes: Int[np.ndarray, "n 2"],
    source: str | Path,
    names: Sequence[str] = (),
) -> None:
    """Check that each K is a pinhole matrix of usual focal length and central principal point.

    A principal point more than a fifth of the image from the middle indicates a K of another image
    size. ``sizes`` are (width, height).

    Raises:
        ValueError: naming the source, the first implausible value, its sample (by name, if there
            are names), and the remedy.
    """

    def first(good: Bool[np.ndarray, " n"]) -> tuple[int, str]:
        row = int(np.argmin(good))
        return row, f"sample {names[row] if names else row}"

    # The form of K first: the other checks need its entries.
    pinhole = np.isfinite(K).all((1, 2)) & (K[:, 0, 0] > 0) & (K[:, 1, 1] > 0)
    pinhole &= (np.abs(K[:, 2] - [0, 0, 1]) < 1e-6).all(-1)
    if not pinhole.all():
        row, sample = first(pinhole)
        raise ValueError(
            f"{source}: K = {K[row].tolist()} of {sample}; "
            "expected pixels [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]"
        )
    # Then the size of the focal lengths, which units other than pixels would violate.
    relative = K[:, [0, 1], [0, 1]] / sizes.max(-1, keepdims=True)
    usual = ((relative > MIN_FOCAL) & (relative < MAX_FOCAL)).all(-1)
    if not usual.all():
        row, sample = first(usual)
        raise ValueError(
            f"{source}: focal lengths {K[row, 0, 0]:.4g} and {K[row, 1, 1]:.4g} px of {sample} "
            f"on an image of {sizes[row][0]}x{sizes[row][1]} are implausible; is a file damaged?"
        )
    # Last the principal point, which shows a K of another resolution.
    central = (np.abs(K[:, :2, 2] / sizes - 0.5) <= 0.2).all(-1)
    if not central.all():
        row, sample = first(central)
        cx, cy = K[row, :2, 2]
        raise ValueError(
            f"{source}: principal point ({cx:.1f}, {cy:.1f}) of {sample} on an image of "
            f"{sizes[row][0]}x{sizes[row][1]}; K of about {2 * cx:.0f}x{2 * cy:.0f}? "
            "Scale K to the image (your own frames: set intrinsics_size=[width, height])"
        )


def report(
    logger: logging.Logger,
    name: str,
    kept: int,
    total: int,
    reasons: Mapping[str, int],
    which: str = "kept",
) -> None:
    """Log once how many frames a loader kept, and why the others were dropped or changed.

    It is a warning if less than half is kept, because then the detections are probably wrong.
    ``which`` describes the frames counted, where more of them are kept.
    """
    level = logging.WARNING if 2 * kept < total else logging.INFO
    text = f" ({listed(reasons)})" if any(reasons.values()) else ""
    logger.log(level, "%s: %d of %d frames %s%s", name, kept, total, which, text)


def listed(reasons: Mapping[str, int]) -> str:
    """The counts above zero as text, such as 'no keypoint detected: 3'."""
    return ", ".join(f"{reason}: {count}" for reason, count in reasons.items() if count)
