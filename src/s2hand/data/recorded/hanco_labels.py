"""HanCo's files: which frames are for what, calibrations, and world-space joints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from s2hand.data.checks import check_intrinsics
from s2hand.data.storage.cache import Layout
from s2hand.files.json import read_json
from s2hand.geometry.skeleton import NUM_JOINTS

CAMERAS = 8
IMAGE_SIZE = (224, 224)
"""(width, height)."""
MAX_SHEAR = 1e-3
"""By how much R R^T of a camera may differ from the identity."""

CALIBRATION: Layout = {"K": ("<f8", (CAMERAS, 3, 3)), "M": ("<f8", (CAMERAS, 4, 4))}
JOINTS: Layout = {"joints": ("<f8", (NUM_JOINTS, 3))}


def read_meta(path: Path) -> tuple[list[list[bool]], list[list[bool]]]:
    """``is_train`` and ``is_valid`` of every frame of every sequence."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; root holds rgb/, calib/, xyz/ and it")
    content = read_json(path)
    lists: list[Any] = []
    for key in ("is_train", "is_valid"):
        rows = content.get(key) if isinstance(content, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
            raise ValueError(f"{path}: no list of lists {key!r} in it; is this HanCo's file?")
        lists.append([[bool(value) for value in row] for row in rows])
    lengths = [[len(row) for row in rows] for rows in lists]
    if lengths[0] != lengths[1]:
        raise ValueError(
            f"{path}: is_train has {sum(lengths[0])} frames in {len(lengths[0])} sequences, "
            f"is_valid {sum(lengths[1])} in {len(lengths[1])}"
        )
    return lists[0], lists[1]


def read_calibration(path: Path) -> dict[str, np.ndarray]:
    """K, pixels, and world-to-camera M of the eight cameras."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected K (8 x 3 x 3) and M (8 x 4 x 4)")
    K, M = (_array(path, content.get(key), shape) for key, (_, shape) in CALIBRATION.items())
    check_intrinsics(K, np.tile(IMAGE_SIZE, (CAMERAS, 1)), path)
    R = M[:, :3, :3]
    rigid = np.isclose(R @ R.transpose(0, 2, 1), np.eye(3), atol=MAX_SHEAR).all((1, 2))
    rigid &= (M[:, 3] == [0, 0, 0, 1]).all(-1)
    if not rigid.all():
        raise ValueError(f"{path}: M of cam{int(np.argmin(rigid))} is no rotation and translation")
    return {"K": K, "M": M}


def read_joints(path: Path) -> dict[str, np.ndarray]:
    """World space, metres."""
    return {"joints": _array(path, read_json(path), (NUM_JOINTS, 3))}


def _array(path: Path, value: Any, shape: tuple[int, ...]) -> Float[np.ndarray, "*shape"]:
    try:
        array = np.asarray(value, np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: expected numbers of shape {shape}: {error}") from error
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{path}: expected finite numbers of shape {shape}, got {array.shape}")
    return array
