"""Prediction files of the FreiHAND and HO-3D leaderboards.

Both expect ``pred.json`` = [joints of every frame, vertices of every frame], metres in camera
space, in the order of the evaluation split, zipped flat for the upload.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from s2hand.files.atomic import atomic_path
from s2hand.geometry.skeleton import (
    NUM_JOINTS,
    NUM_VERTICES,
    TO_COMMON,
    inverse_order,
)

FREIHAND_FRAMES = 3960
"""Frames of FreiHAND's evaluation split."""
HAND_SPAN_M = (0.05, 0.5)
"""Plausible range of the median longest side of the points' bounding box."""
MAX_APART_M = 0.2
"""Largest distance between the centres of a hand's joints and of its vertices."""
OPENGL = np.array([1.0, -1.0, -1.0])
"""Signs that convert OpenCV axes to HO-3D's and back."""
OPENCV = "OpenCV axes (x right, y down, z forward)"
_DECIMALS = 7  # a tenth of a micrometre, half the file size of full doubles


def write_freihand(
    path: str | Path,
    joints: Float[np.ndarray, "n 21 3"],
    vertices: Float[np.ndarray, "n 778 3"],
    frames: int = FREIHAND_FRAMES,
) -> None:
    """Write FreiHAND's ``pred.json``, or a zip that holds it where ``path`` ends in ``.zip``.

    Args:
        path: where to write; replaced atomically.
        joints: camera space (OpenCV axes), metres, common order, evaluation order.
        vertices: of the same frames.
        frames: number of frames in the split.

    Raises:
        ValueError: if a length, a value or the unit is wrong.
    """
    check_hands(joints, vertices, frames)
    _write(Path(path), joints, vertices)


def write_ho3d(
    path: str | Path,
    joints: Float[np.ndarray, "n 21 3"],
    vertices: Float[np.ndarray, "n 778 3"],
    frames: int,
) -> None:
    """Write HO-3D's ``pred.json`` (v2 and v3) in HO-3D's conventions.

    Arguments and errors are those of :func:`write_freihand`; ``frames`` is the number of lines of
    ``evaluation.txt``. The file has OpenGL axes (x, -y, -z) for joints and vertices and HO-3D's
    joint order.
    """
    check_hands(joints, vertices, frames)
    order = list(inverse_order(TO_COMMON["ho3d"]))
    _write(Path(path), (joints * OPENGL)[:, order], vertices * OPENGL)


def check_hands(joints: np.ndarray, vertices: np.ndarray, frames: int, axes: str = OPENCV) -> None:
    """Refuse joints and vertices (OpenCV axes, metres) that cannot be predictions of a split.

    Raises:
        ValueError: for shapes or a number of frames that do not fit, values that are not finite,
            another unit, hands behind the camera (``axes`` is for the message), and joints far from
            the vertices.
    """
    wanted = {"joints": (frames, NUM_JOINTS, 3), "vertices": (frames, NUM_VERTICES, 3)}
    for name, values in (("joints", joints), ("vertices", vertices)):
        if values.shape != wanted[name]:
            raise ValueError(
                f"{name} have shape {values.shape}, the evaluation split needs {wanted[name]}: "
                "predict every frame, in order"
            )
        broken = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))
        if len(broken):
            raise ValueError(f"{name} of frames {broken[:8].tolist()} are not finite")
        span = float(np.median((values.max(axis=1) - values.min(axis=1)).max(axis=1)))
        low, high = HAND_SPAN_M
        if not low <= span <= high:
            raise ValueError(
                f"the median hand of {name} spans {span:.4g}, outside {low} to {high} m: "
                "give metres (divide millimetres by 1000)"
            )
        depth = float(np.median(values[..., 2]))
        if depth <= 0:
            raise ValueError(
                f"the median depth of {name} is {depth:.4g} m, behind the camera: give {axes}"
            )
    apart = float(np.median(np.linalg.norm(joints.mean(1) - vertices.mean(1), axis=-1)))
    if apart > MAX_APART_M:
        raise ValueError(
            f"joints and vertices are {apart:.4g} m apart (median of their centres): give both in "
            "camera space"
        )


def _json_lines(joints: np.ndarray, vertices: np.ndarray) -> Iterator[str]:
    """The text frame by frame, since a whole split as Python lists would need gigabytes."""
    for opening, values, closing in (("[[", joints, "],\n"), ("[", vertices, "]]\n")):
        yield opening
        for i, frame in enumerate(values):
            separator = ",\n" if i else ""
            yield separator + json.dumps(np.round(frame.astype(np.float64), _DECIMALS).tolist())
        yield closing


def _write(path: Path, joints: np.ndarray, vertices: np.ndarray) -> None:
    lines = _json_lines(joints, vertices)
    with atomic_path(path) as temporary:
        if path.suffix == ".zip":
            with (
                zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
                archive.open("pred.json", "w", force_zip64=True) as member,
            ):
                member.writelines(line.encode() for line in lines)
        else:
            with temporary.open("w", encoding="utf-8") as file:
                file.writelines(lines)
