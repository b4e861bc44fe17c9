"""Which motion term is best? The weight of each is chosen from three on the validation sequences.

python -m experiments.ablate_motion.run             # run what is missing, then report
python -m experiments.ablate_motion.run --report    # only report
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from experiments.study import (
    VIDEO_METRICS,
    Study,
    Trial,
    fine_tuning,
    into_readme,
    only_report,
    train,
)

from s2hand.export.tables import Metrics, number

HERE = Path(__file__).parent
WEIGHTS: dict[str, tuple[float, ...]] = {
    "quaternion_slerp": (1.25, 5, 20),
    "quaternion_velocity": (0.5, 2, 8),
    "quaternion_geodesic": (0.5, 2, 8),
    "joint_acceleration": (1, 4, 16),
}
SELECTION_SEED = 100
TOLERANCE = 1.01
"""A weight may cost one per cent of PA-MPJPE and of 2D error on the validation sequences."""
ACCELERATION = "val/acceleration_error_pa_mm_frame2"
SHOWN = ("val/pa_mpjpe_mm", "val/error_2d_px", ACCELERATION)


def candidate(term: str | None, weight: float) -> list[str]:
    """Fine-tuning with this motion term alone, or with none."""
    return fine_tuning([term], weight) if term else fine_tuning([])


def selection_run(term: str | None, weight: float) -> Path:
    """The folder of one candidate."""
    return Path("runs") / HERE.name / (f"select_{term}_{weight:g}" if term else "select_none")


def train_candidates() -> None:
    """Train the candidates that were not trained yet."""
    pairs = [(None, 0.0), *((term, w) for term, weights in WEIGHTS.items() for w in weights)]
    for term, weight in pairs:
        train(selection_run(term, weight), candidate(term, weight), SELECTION_SEED)


def validated(term: str | None, weight: float) -> Metrics:
    """Validation metrics of one candidate."""
    run = selection_run(term, weight)
    metrics: Metrics = json.loads((run / "train.json").read_text())["metrics"]
    return metrics


def choose() -> dict[str, float]:
    """The weight of each term with the least acceleration error within the tolerance; a table."""
    none = validated(None, 0)
    lines = [
        "| term | weight | PA, mm | 2D, px | acceleration error PA | |",
        "|---|---:|---:|---:|---:|---|",
    ]
    lines.append(f"| none | | {' | '.join(number(none[name]) for name in SHOWN)} | |")
    chosen = {}
    for term, weights in WEIGHTS.items():
        found = {weight: validated(term, weight) for weight in weights}
        allowed = {
            weight: metrics[ACCELERATION]
            for weight, metrics in found.items()
            if all(metrics[name] <= TOLERANCE * none[name] for name in SHOWN[:2])
        }
        chosen[term] = min(allowed, key=lambda weight: allowed[weight]) if allowed else weights[0]
        for weight, metrics in found.items():
            mark = "chosen" if weight == chosen[term] else ""
            mark += "" if weight in allowed else " (costs too much)"
            cells = " | ".join(number(metrics[name]) for name in SHOWN)
            lines.append(f"| {term} | {weight:g} | {cells} | {mark} |")
    text = "\n".join(lines) + "\n"
    into_readme(HERE / "README.md", text, "selection")
    sys.stdout.write(text)
    return chosen


if __name__ == "__main__":
    report = only_report(__doc__)
    if not report:
        train_candidates()
    rows = {"none": candidate(None, 0)} | {
        term: candidate(term, weight) for term, weight in choose().items()
    }
    Study(
        HERE,
        [Trial(row, seed, arguments) for row, arguments in rows.items() for seed in range(2)],
        VIDEO_METRICS,
        reference="none",
        plotted=["pa_mpjpe_mm", "error_2d_px", "acceleration_error_pa_mm_frame2"],
    ).main(report)
