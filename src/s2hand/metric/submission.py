"""Prediction files, read as the leaderboards read them, and refused if a score is meaningless.

:mod:`s2hand.metric.leaderboard` writes them.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from s2hand.files.json import json_rows
from s2hand.geometry.skeleton import (
    NUM_JOINTS,
    NUM_VERTICES,
    TO_COMMON,
    bone_lengths,
    inverse_order,
)
from s2hand.metric.leaderboard import OPENCV, OPENGL, check_hands

MAX_BYTES = 2**31
"""Largest file; HO-3D v3 needs 0.6 GB."""
AXES = {"freihand": OPENCV, "ho3d": "HO-3D's axes (x right, y up, the hand at negative z)"}
"""Axes of the files, by form."""
# Not STB's order: it swaps whole fingers, which leaves bone lengths unchanged.
_KNOWN_ORDERS = ("common", "ho3d", "rhd", "interhand")
_ORDERS = {"freihand": "common", "ho3d": "ho3d"}


def read_predictions(
    path: str | Path, form: str, frames: int
) -> tuple[Float[np.ndarray, "n 21 3"], Float[np.ndarray, "n 778 3"]]:
    """Joints and vertices of a prediction file, checked; OpenCV axes, metres, common order.

    Args:
        path: ``pred.json``, or a zip that holds nothing else.
        form: ``freihand`` or ``ho3d``: the file's axes and joint order.
        frames: number of frames in the split.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: naming the file and the problem: not a list of two lists, shapes, lengths,
            values that are not finite, the unit, the axes, the order of joints, or meshes far from
            the joints.
    """
    path = Path(path)
    if form not in AXES:
        raise ValueError(f"form={form!r}; use 'freihand' or 'ho3d'")
    text = _read_text(path)
    outer = re.match(r"\s*\[", text)
    if outer is None:
        raise ValueError(f"{path} is not a list of [joints of all frames, vertices of all frames]")
    joints, end = json_rows(text, f"{path}, joints", (NUM_JOINTS, 3), start=outer.end())
    comma = re.compile(r"\s*,").match(text, end)
    if comma is None:
        raise ValueError(f"{path} ends after the joints; a list of vertices must follow")
    vertices, end = json_rows(text, f"{path}, vertices", (NUM_VERTICES, 3), start=comma.end())
    if not re.compile(r"\s*\]\s*\Z").match(text, end):
        raise ValueError(f"{path}: unexpected text after the vertices; it must hold two lists only")
    if form == "ho3d":
        joints, vertices = from_ho3d(joints, vertices)
    try:
        check_hands(joints, vertices, frames, AXES[form])
        _check_order(joints, form)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return joints, vertices


def from_ho3d(
    joints: Float[np.ndarray, "n 21 3"], vertices: Float[np.ndarray, "n 778 3"]
) -> tuple[Float[np.ndarray, "n 21 3"], Float[np.ndarray, "n 778 3"]]:
    """HO-3D's axes and joint order to OpenCV axes and the common order."""
    return (joints * OPENGL)[:, list(TO_COMMON["ho3d"])], vertices * OPENGL


def _read_text(path: Path) -> str:
    """The text of ``pred.json``, in a zip or not."""
    try:
        if path.suffix != ".zip":
            if (size := path.stat().st_size) > MAX_BYTES:
                raise ValueError(f"{size} bytes, which is too large for predictions")
            return path.read_text(encoding="utf-8")
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if names != ["pred.json"]:
                raise ValueError(f"holds {names[:5]}; the leaderboards take pred.json alone, flat")
            if (size := archive.getinfo("pred.json").file_size) > MAX_BYTES:
                raise ValueError(f"{size} bytes, which is too large for predictions")
            return archive.read("pred.json").decode()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file") from error
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path}: {error}") from error


def _check_order(joints: np.ndarray, form: str) -> None:
    """Refuse another order of joints; the right one has the shortest bones in total."""
    given = torch.from_numpy(joints)[:, list(inverse_order(TO_COMMON[_ORDERS[form]]))]
    lengths = {
        name: float(bone_lengths(given[:, list(TO_COMMON[name])]).sum(-1).median())
        for name in _KNOWN_ORDERS
    }
    best = min(lengths, key=lambda name: lengths[name])
    if lengths[best] < 0.8 * lengths[_ORDERS[form]]:
        raise ValueError(
            f"the joints look like the order {best!r}, not {form}'s: the skeleton would be "
            f"{lengths[_ORDERS[form]]:.3f} m long in all instead of {lengths[best]:.3f} m"
        )
