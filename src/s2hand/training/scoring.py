"""Scores of a leaderboard's prediction file against a split's ground truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from s2hand.data.checks import check_depth
from s2hand.data.recorded.freihand import read_rows
from s2hand.data.recorded.ho3d import read_list
from s2hand.files.progress import progress
from s2hand.geometry.skeleton import NUM_JOINTS, NUM_VERTICES
from s2hand.metric.protocols import BenchmarkMetrics
from s2hand.metric.submission import from_ho3d

_CHUNK = 64

Truth = tuple[np.ndarray, np.ndarray]
_TRUTH = ("evaluation_xyz.json", "evaluation_verts.json")
_LISTS: dict[str, tuple[str, Callable[[Path], int]]] = {
    "freihand": ("evaluation_K.json", lambda path: len(read_rows(path, (3, 3)))),
    "ho3d": ("evaluation.txt", lambda path: len(read_list(path))),
}
"""By dataset: the file that lists the frames of the split, and how to count them."""


def read_truth(dataset: str, root: Path, frames: int) -> Truth | None:
    """Read joints and vertices of an evaluation split: OpenCV axes, common order.

    None where ``root`` holds no such files.

    Raises:
        ValueError: the number of frames differs from the split's, or points are behind the camera.
    """
    paths = [root / name for name in _TRUTH]
    if not paths[0].exists():
        return None
    shapes = ((NUM_JOINTS, 3), (NUM_VERTICES, 3))
    joints, vertices = (read_rows(p, shape) for p, shape in zip(paths, shapes, strict=True))
    for path, rows in zip(paths, (joints, vertices), strict=True):
        if len(rows) != frames:
            raise ValueError(f"{path} has {len(rows)} frames, the split {frames}")
    if dataset == "ho3d":
        joints, vertices = from_ho3d(joints, vertices)
    for path, rows in zip(paths, (joints, vertices), strict=True):
        check_depth(rows, path)
    return joints, vertices


def score(protocol: str, predicted: Truth, true: Truth) -> dict[str, float]:
    """Score joints and vertices, in metres, as a benchmark does (:class:`BenchmarkMetrics`).

    Example:
        >>> joints, vertices = np.random.rand(2, 21, 3), np.random.rand(2, 778, 3)
        >>> score("freihand", (joints, vertices), (joints, vertices))["mpjpe_mm"]
        0.0
    """
    metric = BenchmarkMetrics(protocol)
    chunks = range(0, len(true[0]), _CHUNK)
    for first in progress(chunks, "scoring", len(chunks), "part"):
        rows = slice(first, first + _CHUNK)
        joints, vertices, true_joints, true_vertices = (
            torch.from_numpy(points[rows]) for points in (*predicted, *true)
        )
        metric.update(joints, true_joints, vertices, true_vertices)
    return {name: float(value) for name, value in metric.compute().items()}


def split_frames(dataset: str, root: Path) -> tuple[int, str]:
    """The number of frames of a split, and the name of the file that lists them.

    Raises:
        FileNotFoundError: there is no such file.
    """
    name, count = _LISTS[dataset]
    if not (root / name).is_file():
        raise FileNotFoundError(
            f"{root / name}: no such file; --root is the folder of {dataset} as downloaded, whose "
            "lists give the number of frames"
        )
    return count(root / name), name


def split_files(dataset: str, root: Path) -> list[Path]:
    """The files of a split that scoring reads, whether they exist or not."""
    return [root / name for name in (_LISTS[dataset][0], *_TRUTH)]
