"""HO-3D's files: lists of frames, meta pickles, and the evaluation labels published later."""

from __future__ import annotations

import logging
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from s2hand.data.checks import check_depth, check_intrinsics
from s2hand.data.recorded.base import IMAGE_SIZE
from s2hand.data.recorded.freihand import read_label_rows
from s2hand.data.storage.cache import Layout
from s2hand.files.checksums import read_verified
from s2hand.files.pickles import NUMPY, Array, Scalar, read_pickle, to_array
from s2hand.geometry.skeleton import NUM_JOINTS, NUM_VERTICES, TO_COMMON

logger = logging.getLogger(__name__)

MAX_META_BYTES = 2**20
"""A meta file holds a few kB."""
META: Layout = {"K": ("<f8", (3, 3)), "joints": ("<f8", (NUM_JOINTS, 3)), "box": ("<f8", (4,))}

_LINE = re.compile(r"[A-Za-z0-9_-]+/\d+", re.ASCII)
_OPENGL = np.array([1.0, -1.0, -1.0])


def read_list(path: Path) -> list[str]:
    """The frames ``SEQUENCE/NUMBER`` of ``train.txt`` or ``evaluation.txt``, in order.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: naming the line that is no frame, or that comes twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list; root must hold train/, evaluation/ and it")
    names = read_verified(path).decode("utf-8", errors="replace").split()
    for number, name in enumerate(names):
        if not _LINE.fullmatch(name):
            raise ValueError(f"{path}, entry {number}: {name!r}; expected SEQUENCE/NUMBER")
    if len(set(names)) != len(names):
        raise ValueError(f"{path}: {Counter(names).most_common(1)[0][0]!r} is listed twice")
    return names


def read_meta(path: Path) -> dict[str, np.ndarray]:
    """K, joints (OpenCV axes, common order) and hand box of a meta file; NaN for what it lacks."""
    content = read_pickle(path, NUMPY, MAX_META_BYTES, "an HO-3D meta file")
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, a meta file holds a dict")
    try:
        K = _numbers(content.get("camMat"), (3, 3))
        joints = content.get("handJoints3D")
        # The evaluation split gives the root alone.
        joints = _numbers(joints, (NUM_JOINTS, 3), absent=(3,))
        box = _numbers(content.get("handBoundingBox"), (4,))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    joints = joints[list(TO_COMMON["ho3d"])] * _OPENGL
    check_depth(joints[None], path)
    if np.isfinite(K).all():
        check_intrinsics(K[None], np.array([IMAGE_SIZE]), path)
    return {"K": K, "joints": joints, "box": box}


def read_truth(root: Path, count: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Joints and vertices of the evaluation split (OpenCV axes, common order), if they are there.

    Raises:
        ValueError: if a file has another number of frames than ``evaluation.txt``.
    """
    shapes = {"evaluation_xyz.json": (NUM_JOINTS, 3), "evaluation_verts.json": (NUM_VERTICES, 3)}
    if not (root / "evaluation_xyz.json").exists():
        logger.info("%s: no evaluation labels (evaluation_xyz.json)", root)
        return None, None
    arrays = []
    for name, shape in shapes.items():
        rows = read_label_rows(root / name, shape) * _OPENGL
        if len(rows) != count:
            raise ValueError(f"{root / name} has {len(rows)} frames, evaluation.txt {count}")
        check_depth(rows, root / name)
        arrays.append(rows)
    return arrays[0][:, list(TO_COMMON["ho3d"])], arrays[1]


def _numbers(
    value: Any, shape: tuple[int, ...], absent: tuple[int, ...] | None = None
) -> np.ndarray:
    """An array, or a list of numbers, of this shape; NaN for None and for the shape ``absent``."""
    if value is None:
        return np.full(shape, np.nan)
    if isinstance(value, list | tuple):
        value = [to_array(v) if isinstance(v, Scalar) else v for v in value]
    array = to_array(value) if isinstance(value, Array) else np.asarray(value, np.float64)
    if array.shape == absent:
        return np.full(shape, np.nan)
    if array.shape != shape:
        raise ValueError(f"an array of shape {array.shape} where {shape} is expected")
    return array.astype(np.float64)
