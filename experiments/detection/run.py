"""Does the confidence of 2D keypoints predict their errors, and does training gain from it?

python -m experiments.detection.run hand.mp4            # run what is missing, then report
python -m experiments.detection.run hand.mp4 --report   # only report
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from experiments.detection.occlusion import Picture, Points, occlude, occluded_frames, rendered
from experiments.study import RUNS, command, into_readme
from jaxtyping import Bool, Float
from scipy.stats import rankdata

from s2hand.data.detections.base import Detections
from s2hand.data.detections.files import read_detections, write_detections
from s2hand.detect.confidence import with_confidence
from s2hand.detect.hands import hand_size
from s2hand.detect.mediapipe import HandLandmarker
from s2hand.detect.model import find_model
from s2hand.export.movie import MovieWriter
from s2hand.export.track import read_track
from s2hand.files.json import write_json

HERE = Path(__file__).parent
OUT = RUNS / HERE.name
LIMIT = 0.1
"""Error of a wrong keypoint, as a fraction of the hand's size."""
RENDERED, EVERY, SEED = 240, 6, 0
FRAMES, BLOCK, STEPS, FIT_SEEDS = 240, 20, 200, range(2)
ROWS = {"confidence": "by agreement", "ones": "all 1"}


def judge(
    samples: Iterable[tuple[Picture, Points, Bool[np.ndarray, " 21"]]],
) -> dict[str, list[list[float]]]:
    """Error, confidence, detector's score and occlusion of each keypoint found.

    Samples are a picture, the true joints and which of them are hidden.
    """
    found: dict[str, list[list[float]]] = {
        name: [] for name in ("error", "error_single", "confidence", "score", "hidden")
    }
    missed = 0
    with HandLandmarker(find_model(), 1) as find:
        for picture, truth, hidden in samples:
            hands = find(picture)
            if not hands:
                missed += 1
                continue
            hand, size = with_confidence(picture, hands[0], find), hand_size(truth)
            for name, points in (("error", hand), ("error_single", hands[0])):
                errors = np.linalg.norm(points.keypoints - truth, axis=-1) / size
                found[name].append(errors.tolist())
            found["confidence"].append(hand.confidence.tolist())
            found["score"].append([hand.score] * len(truth))
            found["hidden"].append(hidden.astype(float).tolist())
    return {**found, "missed": [[missed]]}


def rendered_samples() -> Iterable[tuple[Picture, Points, Bool[np.ndarray, " 21"]]]:
    """Rendered hands with objects over them."""
    for number, (picture, joints) in enumerate(rendered(RENDERED, SEED)):
        occluded, hidden = occlude(picture, joints, np.random.default_rng([SEED, 1, number]))
        yield occluded, joints, hidden


def real_samples(
    video: Path, reference: Detections
) -> Iterable[tuple[Picture, Points, Bool[np.ndarray, " 21"]]]:
    """Frames of the video with objects over the hand; the detections without them are the truth."""
    for number, picture, hidden in occluded_frames(video, reference.keypoints, 1, SEED, EVERY):
        yield picture, reference.keypoints[number], hidden


def fit(video: Path, reference: Detections) -> None:
    """Adapt to an occluded film with its detections as they are, and with all confidences 1."""
    film, path = OUT / "occluded.mp4", OUT / "confidence.json"
    if not path.is_file():
        hidden = []
        height, width = reference.image_size[::-1] if reference.image_size else (0, 0)
        with MovieWriter(film, 30, (width, height)) as movie:
            first = reference.keypoints[:FRAMES]
            for _, picture, covered in occluded_frames(video, first, BLOCK, SEED):
                movie.write(picture)
                hidden.append(covered.tolist())
        write_json(OUT / "hidden.json", hidden)
        command("s2hand-detect", str(film), "-o", str(path), "--hands", "1")
    found = read_detections(path)
    ones = replace(found, confidence=(found.confidence > 0).astype(float))
    write_detections(OUT / "ones.json", ones)
    for seed in FIT_SEEDS:
        for row in ROWS:
            run = OUT / f"{row}_s{seed}"
            if not (run / "track.npz").is_file():
                command(
                    "s2hand-adapt", f"source={film}", f"detections={OUT / row}.json", f"out={run}",
                    f"seed={seed}", f"trainer.max_steps={STEPS}", "optim.optimizer.lr=1e-3",
                    "predict.formats=[npz]",
                )  # fmt: skip


def fit_errors(row: str, seed: int, reference: Detections) -> Float[np.ndarray, "n 21"]:
    """Distance of projected joints to the keypoints without objects, per cent of the hand's size.

    NaN in frames without a prediction. Not in pixels of the crop, which depends on the confidences.
    """
    track = read_track(OUT / f"{row}_s{seed}" / "track.npz")
    numbers = track["frame_numbers"]
    truth = reference.keypoints[numbers]
    distance = np.linalg.norm(track["joints_2d_image"] - truth, axis=-1)
    errors = np.full((FRAMES, 21), np.nan)
    errors[numbers] = 100 * distance / hand_size(truth)[:, None]
    return errors


def auc(confidence: np.ndarray, wrong: np.ndarray) -> float:
    """Probability that a right keypoint has more confidence than a wrong one (Mann-Whitney)."""
    ranks = rankdata(confidence)
    right, count = ~wrong, int((~wrong).sum())
    total = ranks[right].sum() - count * (count + 1) / 2
    return float(total / (count * wrong.sum())) if 0 < count < len(wrong) else float("nan")


def report(reference: Detections) -> None:
    """results.json, the tables in README.md, and plot.png."""
    judged = {name: json.loads((OUT / f"{name}.json").read_text()) for name in ("rendered", "real")}
    lines = [
        "| pictures | hands found | keypoints wrong | AUC | AUC of hidden joints | AUC of the "
        "detector's score | mean error, one view | mean error, median of views |",
        "|---|" + "---:|" * 7,
    ]
    results: dict[str, dict[str, float]] = {}
    for name, columns in judged.items():
        missed = columns.pop("missed")[0][0]
        error, single, confidence, score, hidden = (np.ravel(v) for v in columns.values())
        wrong, covered = error > LIMIT, hidden > 0
        found = len(columns["error"])
        results[name] = {
            "found": found, "pictures": found + missed, "wrong": float(wrong.mean()),
            "auc": auc(confidence, wrong), "auc_hidden": auc(confidence[covered], wrong[covered]),
            "auc_score": auc(score, wrong), "error_single": float(single.mean()),
            "error": float(error.mean()),
        }  # fmt: skip
        values = results[name]
        lines.append(
            f"| {name} | {found} of {found + missed} | {100 * values['wrong']:.0f} % | "
            f"{values['auc']:.2f} | {values['auc_hidden']:.2f} | {values['auc_score']:.2f} | "
            f"{values['error_single']:.3f} | {values['error']:.3f} |"
        )
    into_readme(HERE / "README.md", "\n".join(lines) + "\n", "ranking")
    into_readme(HERE / "README.md", fit_table(reference, results), "fits")
    write_json(HERE / "results.json", results)
    plot(judged)


def fit_table(reference: Detections, results: dict[str, dict[str, float]]) -> str:
    """2D errors of the fits, % of the hand, over the frames that all fits predict."""
    hidden = np.array(json.loads((OUT / "hidden.json").read_text()))
    errors = {row: [fit_errors(row, seed, reference) for seed in FIT_SEEDS] for row in ROWS}
    everywhere = np.isfinite(np.stack([one for many in errors.values() for one in many])).all(0)
    parts = {"all": everywhere, "hidden": everywhere & hidden, "in sight": everywhere & ~hidden}
    lines = [
        f"| confidence | {', % | '.join(parts)}, % | median of all, % | 95th percentile, % |",
        "|---|" + "---:|" * (len(parts) + 2),
    ]
    for row, heading in ROWS.items():
        values = {
            part: [float(one[where].mean()) for one in errors[row]] for part, where in parts.items()
        }
        values["median"] = [float(np.median(one[everywhere])) for one in errors[row]]
        values["p95"] = [float(np.percentile(one[everywhere], 95)) for one in errors[row]]
        for part, by_seed in values.items():
            results.setdefault(f"fit, {heading}", {})[part] = float(np.mean(by_seed))
        cells = [
            f"{np.mean(by_seed):.2f} ({', '.join(f'{one:.2f}' for one in by_seed)})"
            for by_seed in values.values()
        ]
        lines.append(f"| {heading} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(judged: dict[str, dict[str, list[list[float]]]]) -> None:
    """Error by confidence, in tenths."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained", sharey=True)
    bins = np.linspace(0, 1, 11)
    for axis, (name, columns) in zip(axes, judged.items(), strict=True):
        error, confidence = np.ravel(columns["error"]), np.ravel(columns["confidence"])
        place = np.clip(np.digitize(confidence, bins) - 1, 0, 9)
        groups = [error[place == i] for i in range(10)]
        axis.boxplot(groups, positions=bins[:-1] + 0.05, widths=0.07, showfliers=False,
                     manage_ticks=False)  # fmt: skip
        axis.axhline(LIMIT, color="#c0504d", linewidth=1)
        for at, group in zip(bins[:-1] + 0.05, groups, strict=True):
            axis.annotate(str(len(group)), (at, 0), (0, -12), textcoords="offset points",
                          ha="center", fontsize=6, color="#777777")  # fmt: skip
        axis.set(xlim=(0, 1), title=name, xlabel="confidence (below: number of keypoints)")
        axis.xaxis.set_tick_params(pad=12)
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("error, fraction of the hand's size")
    axes[0].set_ylim(bottom=0)
    figure.savefig(HERE / "plot.png", dpi=120)
    plt.close(figure)


def main() -> None:
    """Measure what is missing, then report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("video", type=Path, help="a video of one unoccluded right hand")
    parser.add_argument("--report", action="store_true", help="do not measure, only report")
    options = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / "reference.json"
    if not path.is_file():
        command("s2hand-detect", str(options.video), "-o", str(path), "--hands", "1")
    reference = read_detections(path)
    if not options.report:
        samples = {"rendered": rendered_samples(), "real": real_samples(options.video, reference)}
        for name, pictures in samples.items():
            if not (OUT / f"{name}.json").is_file():
                write_json(OUT / f"{name}.json", judge(pictures), indent=None)
        fit(options.video, reference)
    report(reference)


if __name__ == "__main__":
    main()
