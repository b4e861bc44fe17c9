"""``s2hand-score``: check a leaderboard's prediction file; score it where the truth is known."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from s2hand.export.tables import metrics_table
from s2hand.files.errors import EXPECTED, ended
from s2hand.files.json import write_json
from s2hand.files.outputs import check_file, has_keys
from s2hand.metric.submission import read_predictions
from s2hand.training.scoring import read_truth, score, split_files, split_frames

_DESCRIPTION = """\
Check pred.json, or a zip that holds it, against the evaluation split it was made for: two lists
with one entry per frame of the split, 21 joints and 778 vertices, in metres and in the axes and
joint order of the leaderboard. Where ROOT holds the ground truth of the split, score it as the
official script does: errors in mm (the leaderboards print cm), areas under PCK from 0 to 50 mm,
F-scores at 5 and 15 mm, each in camera space and Procrustes-aligned (pa_), for HO-3D also scaled
and moved (st_).
"""
_EPILOG = """\
ROOT holds, as published:
  freihand  evaluation_K.json, and for scores evaluation_xyz.json and evaluation_verts.json
  ho3d      evaluation.txt, and for scores evaluation_xyz.json and evaluation_verts.json, in the
            axes and joint order of HO-3D

examples:
  s2hand-evaluate checkpoint=FILE data=freihand dataset.root=FreiHAND pred_json=true
  s2hand-score pred.json --dataset freihand --root FreiHAND
  s2hand-score pred.zip --dataset ho3d --root HO3D_v3 --out scores.json

The exit code is 0 if the file is valid, scored or not; otherwise 1, with the reason.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    try:
        return _run(options, console)
    except (KeyboardInterrupt, *EXPECTED) as error:
        return ended(error)


def _run(options: argparse.Namespace, console: Console) -> int:
    out = options.out or options.predictions.parent / "scores.json"
    earlier = None if options.out else has_keys("predictions", "dataset", "frames", "scores")
    check_file(out, [options.predictions, *split_files(options.dataset, options.root)], earlier)
    count, name = split_frames(options.dataset, options.root)
    joints, vertices = read_predictions(options.predictions, options.dataset, count)
    console.print(f"{options.predictions}: valid, {count} frames of {name}")
    truth = read_truth(options.dataset, options.root, count)
    if truth is None:
        console.print(f"no ground truth in {options.root} (evaluation_xyz.json): not scored")
        return 0
    scores = score(options.dataset, (joints, vertices), truth)
    about = {"predictions": str(options.predictions), "dataset": options.dataset}
    write_json(out, about | {"frames": count, "scores": scores})
    console.print(metrics_table(f"{count} frames", {options.dataset: scores}))
    console.print(f"written to {out}")
    return 0


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
