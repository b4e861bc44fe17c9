"""DexYCB's files: sequences, calibrations and labelled joints."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from s2hand.data.checks import check_depth, check_intrinsics
from s2hand.data.detections.base import SIDES
from s2hand.data.recorded.base import IMAGE_SIZE
from s2hand.data.storage.cache import Layout
from s2hand.files.checksums import read_verified
from s2hand.geometry.skeleton import NUM_JOINTS

SERIALS = (
    "836212060125",
    "839512060362",
    "840412060917",
    "841412060263",
    "932122060857",
    "932122060861",
    "932122061900",
    "932122062010",
)
"""The cameras, in the order in which the splits count them."""
JOINTS: Layout = {"joints": ("<f4", (NUM_JOINTS, 3))}


def read_intrinsics(root: Path, serial: str) -> np.ndarray:
    """K [3, 3] of a colour camera, pixels of its 640 x 480 image."""
    path = root / "calibration" / "intrinsics" / f"{serial}_{IMAGE_SIZE[0]}x{IMAGE_SIZE[1]}.yml"
    color = _read_yaml(path, "color")["color"]
    try:
        fx, fy, cx, cy = (float(color[key]) for key in ("fx", "fy", "ppx", "ppy"))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: color must hold the numbers fx, fy, ppx and ppy") from error
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    check_intrinsics(K[None], np.array([IMAGE_SIZE]), path)
    return K


def read_meta(path: Path) -> tuple[Sequence[str], int, bool]:
    """Cameras, number of frames, and whether the hand is a left one."""
    meta = _read_yaml(path, "serials", "num_frames", "mano_sides")
    serials, frames, sides = meta["serials"], meta["num_frames"], meta["mano_sides"]
    serials = [str(serial) for serial in serials] if isinstance(serials, list) else []
    if not serials or not set(serials) <= set(SERIALS):
        raise ValueError(f"{path}: serials {serials}; known are {', '.join(SERIALS)}")
    if not isinstance(frames, int) or not 0 < frames < 10**6:
        raise ValueError(f"{path}: num_frames is {frames!r}, not a number of frames")
    if not isinstance(sides, list) or len(sides) != 1 or sides[0] not in SIDES:
        raise ValueError(f"{path}: mano_sides is {sides!r}; expected [right] or [left]")
    return sorted(serials, key=SERIALS.index), frames, sides[0] == "left"


def read_joints(path: Path) -> dict[str, np.ndarray]:
    """The labelled joints, metres; NaN where they are all -1: no hand is labelled."""
    content = io.BytesIO(read_verified(path))
    try:
        with np.load(content, allow_pickle=False) as arrays:
            joints = np.asarray(arrays["joint_3d"], np.float32).reshape(NUM_JOINTS, 3)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"cannot read {path} (joint_3d, 1 x 21 x 3): {error}") from error
    if (joints == -1).all():
        return {"joints": np.full_like(joints, np.nan)}
    check_depth(joints[None], path)
    return {"joints": joints}


def _read_yaml(path: Path, *keys: str) -> dict[str, Any]:
    """A YAML mapping that has these keys."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; unpack the whole archive")
    raw = read_verified(path)
    try:
        content = yaml.safe_load(raw.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not plain YAML: {error}") from error
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(f"{path}: no {missing[0]!r} in it; is this DexYCB's file?")
    return dict(content)
