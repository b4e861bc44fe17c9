"""How good is a fit to one unlabelled sequence, and what do the temporal terms add?

python -m experiments.adaptation.run             # run what is missing, then report
python -m experiments.adaptation.run --report    # only report
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import hydra
import matplotlib.pyplot as plt
import numpy as np
from experiments.study import (
    BASE,
    FRAME_LOSSES,
    MOTION,
    RUNS,
    TEXTURE_SHAPE,
    VIDEO_METRICS,
    into_readme,
)
from hydra import compose, initialize_config_module

from s2hand.cli.common.app import quiet_libraries
from s2hand.export.tables import Metrics, mean, number
from s2hand.files.json import write_json
from s2hand.fitting.adaptation import adapt
from s2hand.training.build import load, make_data
from s2hand.training.evaluation import measure

HERE = Path(__file__).parent
SEQUENCES, SEEDS, STEPS = range(8), range(2), 200
FRAMES = f"loss=[{','.join(FRAME_LOSSES)}]"
TEMPORAL = [
    f"loss=[{','.join((*FRAME_LOSSES, MOTION, *TEXTURE_SHAPE))}]",
    f"loss.{MOTION}.weight=5",
]
ROWS = {
    "checkpoint": [],
    "checkpoint, frames": [f"checkpoint={BASE}", FRAMES],
    "checkpoint, temporal": [f"checkpoint={BASE}", *TEMPORAL],
    "new heads, frames": ["checkpoint=null", FRAMES],
    "new heads, temporal": ["checkpoint=null", *TEMPORAL],
}
SHOWN = VIDEO_METRICS | {"seconds": "seconds"}


def fit(row: str, sequence: int, seed: int) -> None:
    """Adapt to one sequence and measure on it; the labels are read by the measurement alone."""
    run = RUNS / HERE.name / f"{row.replace(', ', '_').replace(' ', '_')}_{sequence}_s{seed}"
    if (run / "study.json").is_file():
        return
    with initialize_config_module("s2hand.conf", version_base="1.3"):
        arguments = ["data=synthetic_sequence", f"dataset.sequence={sequence}", f"seed={seed}"]
        arguments += [f"trainer.max_steps={STEPS}", "optim.optimizer.lr=1e-3"]
        quiet = ["callbacks.panels=null", "logger=none"]
        cfg = compose("adapt", [*ROWS[row], *arguments, f"out={run}", *quiet])
    if row == "checkpoint":
        module = load(BASE)
        data, seconds = make_data(cfg, module), 0.0
    else:
        adapted = adapt(cfg)
        module, data, seconds = adapted.module, adapted.data, adapted.report["seconds"]
    trainer = hydra.utils.instantiate(cfg.trainer, logger=False, enable_progress_bar=False)
    columns = measure(trainer, module, data)
    metrics = columns["model"] | {
        "seconds": seconds,
        "mean_pose_pa_mpjpe_mm": columns["mean pose"]["pa_mpjpe_mm"],
    }
    write_json(run / "study.json", {"row": row, "sequence": sequence, "metrics": metrics})
    sys.stdout.write(f"{run.name}: PA {metrics['pa_mpjpe_mm']:.2f} mm\n")
    sys.stdout.flush()


def report() -> None:
    """results.json, the table in README.md, and plot.png."""
    done = [json.loads(p.read_text()) for p in sorted((RUNS / HERE.name).glob("*/study.json"))]
    (HERE / "results.json").write_text(json.dumps(done, indent=1) + "\n")
    results: dict[str, list[Metrics]] = {row: [] for row in ROWS}
    for one in done:
        results[one["row"]].append(one["metrics"])
    everything = [metrics for values in results.values() for metrics in values]
    lines = [f"| | {' | '.join(SHOWN.values())} |", "|---|" + "---:|" * len(SHOWN)]
    lines += [
        f"| {row} | {' | '.join(number(typical(values, name)) for name in SHOWN)} |"
        for row, values in results.items()
        if values
    ]
    blank = " |" * (len(SHOWN) - 1)
    lines.append(f"| mean pose | {number(mean(everything, 'mean_pose_pa_mpjpe_mm'))} |{blank}")
    text = "\n".join(lines) + "\n"
    into_readme(HERE / "README.md", text)
    plot(results)
    sys.stdout.write(text)


def typical(values: list[Metrics], name: str) -> float:
    """The mean, or for seconds the median, which is robust to other work on the machine."""
    if name == "seconds":
        return float(np.median([one[name] for one in values]))
    return mean(values, name)


def plot(results: dict[str, list[Metrics]]) -> None:
    """PA-MPJPE of each sequence and seed, by row."""
    figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
    rows = [row for row, values in results.items() if values]
    for position, row in enumerate(rows):
        values = [metrics["pa_mpjpe_mm"] for metrics in results[row]]
        spread = np.linspace(-0.15, 0.15, len(values))
        axis.plot(position + spread, values, "o", color="#1f3a5f", markersize=3)
        axis.hlines(np.mean(values), position - 0.3, position + 0.3, color="#c0504d")
    axis.set_xticks(range(len(rows)), rows, rotation=15)
    axis.set_ylabel("PA-MPJPE, mm")
    axis.set_ylim(bottom=0)
    axis.grid(axis="y", alpha=0.3)
    figure.savefig(HERE / "plot.png", dpi=120)
    plt.close(figure)


def main() -> None:
    """Fit what is missing, then report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", action="store_true", help="do not fit, only report")
    if not parser.parse_args().report:
        quiet_libraries()
        for seed in SEEDS:
            for sequence in SEQUENCES:
                for row in ROWS:
                    if row != "checkpoint" or seed == 0:
                        fit(row, sequence, seed)
    report()


if __name__ == "__main__":
    main()
