"""How many views does a joint's confidence need: 3, 5 or 8?

python -m experiments.detection.views hand.mp4   # after experiments.detection.run
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from experiments.detection.run import HERE, LIMIT, OUT, auc, real_samples
from experiments.study import into_readme
from jaxtyping import Float

from s2hand.data.detections.base import Detections
from s2hand.data.detections.files import read_detections
from s2hand.detect.confidence import PICTURE_CHANGES, PictureChange, agreement, detect_again, inside
from s2hand.detect.hands import hand_size
from s2hand.detect.mediapipe import HandLandmarker
from s2hand.detect.model import find_model
from s2hand.files.json import write_json

MORE = (PictureChange(12, 1.05, False), PictureChange(-18, 1.1, True), PictureChange(8, 0.8, False))
"""Views besides the package's five, in the same ranges of angle and scale."""
COUNTS = (3, 5, 8)


def measure(video: Path, reference: Detections) -> list[dict[str, float]]:
    """A row for each number of views, on the same occluded frames; n views are the first n of 8."""
    views = PICTURE_CHANGES + MORE
    error: dict[int, list[Float[np.ndarray, " 21"]]] = {count: [] for count in COUNTS}
    confidence: dict[int, list[Float[np.ndarray, " 21"]]] = {count: [] for count in COUNTS}
    covered, seconds = [], 0.0
    with HandLandmarker(find_model(), 1) as find:
        for picture, truth, hidden in real_samples(video, reference):
            hands = find(picture)
            if not hands:
                continue
            begin = time.perf_counter()
            again = detect_again(picture, hands[0].keypoints, find, views)
            seconds += time.perf_counter() - begin
            covered.append(hidden)
            for count in COUNTS:
                keypoints, trust = agreement(hands[0].keypoints, again[:count])
                confidence[count].append(np.where(inside(keypoints, picture), trust, 0.0))
                distance = np.linalg.norm(keypoints - truth, axis=-1)
                error[count].append(distance / hand_size(truth))
    behind = np.ravel(covered)
    rows = []
    for count in COUNTS:
        errors, trusts = np.ravel(error[count]), np.ravel(confidence[count])
        wrong = errors > LIMIT
        rows.append({
            "views": count, "hands": len(covered), "auc": auc(trusts, wrong),
            "auc_hidden": auc(trusts[behind], wrong[behind]), "error": float(errors.mean()),
            "milliseconds": 1000 * seconds / len(covered) / len(views) * count,
        })  # fmt: skip
    return rows


def table(rows: list[dict[str, float]]) -> str:
    """The table for README.md."""
    lines = [
        "| views | hands | AUC | AUC of hidden joints | mean error, median of views | ms a hand |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['views']} | {row['hands']} | {row['auc']:.3f} | {row['auc_hidden']:.3f} | "
        f"{row['error']:.4f} | {row['milliseconds']:.0f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("video", type=Path, help="the one of experiments.detection.run")
    rows = measure(parser.parse_args().video, read_detections(OUT / "reference.json"))
    write_json(HERE / "views.json", rows)
    into_readme(HERE / "README.md", table(rows), "views")


if __name__ == "__main__":
    main()
