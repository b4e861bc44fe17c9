"""``s2hand-score``: check a leaderboard's prediction file; score it where the truth is known."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from s2hand.cli.common.app import metrics_table
from s2hand.data.checks import check_depth
from s2hand.data.recorded.freihand import read_rows
from s2hand.data.recorded.ho3d_labels import read_list
from s2hand.files.errors import EXPECTED, ended
from s2hand.files.json import write_json
from s2hand.files.progress import progress
from s2hand.geometry.skeleton import NUM_JOINTS, NUM_VERTICES
from s2hand.metric.protocols import BenchmarkMetrics
from s2hand.metric.submission import from_ho3d, read_predictions

_DESCRIPTION = """\
Check pred.json, or the zip with it, against the evaluation split it was made for: two lists, as
many frames as the split has, 21 joints and 778 vertices each, metres, the leaderboard's own axes
and joint order. Where the split's ground truth lies in ROOT, score it as the official script does:
errors in mm (the leaderboards print cm), areas under PCK from 0 to 50 mm, F-scores at 5 and 15 mm,
each in camera space and Procrustes-aligned (pa_), for HO-3D also scaled and moved (st_).
"""
_EPILOG = """\
ROOT holds, as published:
  freihand  evaluation_K.json, and for scores evaluation_xyz.json and evaluation_verts.json
  ho3d      evaluation.txt, and for scores evaluation_xyz.json and evaluation_verts.json, in HO-3D's
            own axes and joint order

examples:
  s2hand-evaluate checkpoint=FILE data=freihand dataset.root=FreiHAND pred_json=true
  s2hand-score pred.json --dataset freihand --root FreiHAND
  s2hand-score pred.zip --dataset ho3d --root HO3D_v3 --out scores.json

It ends with 0 if the file is valid, scored or not, and with 1 and the reason if it is not.
"""
_CHUNK = 64

Truth = tuple[np.ndarray, np.ndarray]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    try:
        return _run(options, console)
    except (KeyboardInterrupt, *EXPECTED) as error:
        return ended(error)


def _run(options: argparse.Namespace, console: Console) -> int:
    count, name = _frames(options.dataset, options.root)
    joints, vertices = read_predictions(options.predictions, options.dataset, count)
    console.print(f"{options.predictions}: valid, {count} frames of {name}")
    truth = read_truth(options.dataset, options.root, count)
    if truth is None:
        console.print(f"no ground truth in {options.root} (evaluation_xyz.json): not scored")
        return 0
    scores = score(options.dataset, (joints, vertices), truth)
    out = options.out or options.predictions.parent / "scores.json"
    write_json(
        out,
        {
            "predictions": str(options.predictions),
            "dataset": options.dataset,
            "frames": count,
            "scores": scores,
        },
    )
    console.print(metrics_table(f"{count} frames", {options.dataset: scores}))
    console.print(f"written to {out}")
    return 0


def read_truth(dataset: str, root: Path, frames: int) -> Truth | None:
    """Joints and vertices of an evaluation split: OpenCV axes, common order; None without files.

    Raises:
        ValueError: for another number of frames than the split has, and points behind the camera.
    """
    paths = [root / "evaluation_xyz.json", root / "evaluation_verts.json"]
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
    """A benchmark's results (:class:`BenchmarkMetrics`) of joints and vertices, metres."""
    metric = BenchmarkMetrics(protocol)
    chunks = range(0, len(true[0]), _CHUNK)
    for first in progress(chunks, "scoring", len(chunks), "part"):
        rows = slice(first, first + _CHUNK)
        joints, vertices, true_joints, true_vertices = (
            torch.from_numpy(points[rows]) for points in (*predicted, *true)
        )
        metric.update(joints, true_joints, vertices, true_vertices)
    return {name: float(value) for name, value in metric.compute().items()}


def _frames(dataset: str, root: Path) -> tuple[int, str]:
    """How many frames a split has, and the file that says so."""
    counts: dict[str, tuple[str, Callable[[Path], int]]] = {
        "freihand": ("evaluation_K.json", lambda path: len(read_rows(path, (3, 3)))),
        "ho3d": ("evaluation.txt", lambda path: len(read_list(path))),
    }
    name, count = counts[dataset]
    if not (root / name).is_file():
        raise FileNotFoundError(
            f"{root / name}: no such file; --root is the folder of {dataset} as downloaded, which "
            "says how many frames there are"
        )
    return count(root / name), name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="s2hand-score",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("predictions", type=Path, metavar="PRED", help="pred.json, or a zip of it")
    parser.add_argument("--dataset", choices=("freihand", "ho3d"), required=True)
    parser.add_argument("--root", type=Path, required=True, help="the dataset's folder")
    parser.add_argument("--out", type=Path, help="default: scores.json beside PRED")
    return parser


if __name__ == "__main__":
    sys.exit(main())
