"""Rendered hands from all sides: 2D supervision alone, against 3D supervision, and three seeds.

python -m experiments.synthetic_image.run            # run what is missing, then report
python -m experiments.synthetic_image.run --report   # only report
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from experiments.study import command

HERE = Path(__file__).parent
RUNS = Path("runs/synthetic_image")
SHORT = ["trainer.max_steps=1000", "trainer.val_check_interval=250"]
STUDIES: dict[str, list[str]] = {
    "self_supervised": ["experiment=synthetic_image"],
    "supervised_3d": ["experiment=synthetic_image_3d"],
    **{
        f"short_seed{seed}": [
            "experiment=synthetic_image",
            f"name=short_seed{seed}",
            f"seed={seed}",
            *SHORT,
        ]
        for seed in range(3)
    },
}
SHOWN = (
    "pa_mpjpe_mm",
    "pa_mpvpe_mm",
    "rr_mpjpe_mm",
    "auc_pa_50mm",
    "f5_pa",
    "f15_pa",
    "error_2d_px",
)


def main() -> None:
    """Train and evaluate what is missing, then report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", action="store_true", help="do not train, only report")
    parser.add_argument("--only", choices=STUDIES, action="append", help="these runs only")
    options = parser.parse_args()
    if not options.report:
        for name in options.only or STUDIES:
            run(name)
    report()


def run(name: str) -> None:
    """Train (going on where an interrupted run stopped) and evaluate one run."""
    folder = RUNS / name
    if not (folder / "train.json").is_file():
        command("s2hand-train", *STUDIES[name])
    if not (folder / "metrics.json").is_file():
        command("s2hand-evaluate", f"checkpoint={folder}/checkpoints/last.ckpt")


def report() -> None:
    """results.json, results.md and curves.png of every finished run; the panel of the first."""
    done = {
        n: json.loads((RUNS / n / "metrics.json").read_text())
        for n in STUDIES
        if (RUNS / n / "metrics.json").is_file()
    }
    (HERE / "results.json").write_text(json.dumps(done, indent=2) + "\n")
    (HERE / "results.md").write_text(table(done))
    curves(done)
    if "self_supervised" in done:
        shutil.copy(RUNS / "self_supervised" / "panel.png", HERE / "panel.png")
    print(table(done))


def table(done: dict[str, dict]) -> str:
    """Markdown: a row per run, the mean pose last, the short runs also as mean and deviation."""
    lines = ["| run | " + " | ".join(SHOWN) + " |", "|---|" + "---:|" * len(SHOWN)]
    rows = {name: result["metrics"]["model"] for name, result in done.items()}
    for name, values in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{values[key]:.3f}" for key in SHOWN) + " |")
    short = [values for name, values in rows.items() if name.startswith("short")]
    if len(short) > 1:
        cells = [[values[key] for values in short] for key in SHOWN]
        lines.append(
            f"| short, mean ± sd of {len(short)} seeds | "
            + " | ".join(f"{np.mean(c):.3f} ± {np.std(c, ddof=1):.3f}" for c in cells)
            + " |"
        )
    if done:
        mean = next(iter(done.values()))["metrics"]["mean pose"]
        cells = [f"{mean[key]:.3f}" if key in mean else "" for key in SHOWN]
        lines.append("| mean pose | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def curves(done: dict[str, dict]) -> None:
    """Validation PA-MPJPE and 2D error against training steps."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for name in done:
        with (RUNS / name / "metrics.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row.get("val/pa_mpjpe_mm")]
        steps = [int(row["step"]) + 1 for row in rows]
        for axis, key in zip(axes, ("val/pa_mpjpe_mm", "val/error_2d_px"), strict=True):
            axis.plot(steps, [float(row[key]) for row in rows], marker="o", label=name)
    for axis, label in zip(axes, ("PA-MPJPE, mm", "2D error, px of a 224 crop"), strict=True):
        axis.set(xlabel="step", ylabel=f"{label} (validation)")
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(HERE / "curves.png", dpi=120)


if __name__ == "__main__":
    main()
