"""Shared code of the studies: run missing trials, collect metrics, write table and plot.

A study is a list of trials. Each calls ``s2hand-train`` and ``s2hand-evaluate`` into
``runs/<study>/<row>_s<seed>``; the trials of a row differ only in the seed and are averaged. A
finished trial is not repeated, an interrupted one resumes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from s2hand.export.charts import bar_chart
from s2hand.export.tables import Metrics, markdown, mean, mean_and_deviation

RUNS = Path("runs")
BASE = RUNS / "synthetic_image" / "self_supervised" / "checkpoints" / "last.ckpt"
"""The image model that the video studies start from: experiments/synthetic_image makes it."""
FRAME_LOSSES = (
    "joint_location", "bone_orientation", "estimator_2d", "consistency_2d", "photometric",
    "mean_colour", "ssim", "texture", "shape", "scale", "joint_angles", "laplacian", "pose_prior",
)  # fmt: skip
MOTION = "quaternion_slerp"
TEXTURE_SHAPE = ["texture_consistency", "shape_consistency", "scale_consistency"]
VIDEO_METRICS = {
    "pa_mpjpe_mm": "PA-MPJPE, mm",
    "rr_mpjpe_mm": "RR, mm",
    "error_2d_px": "2D, px",
    "acceleration_error_pa_mm_frame2": "acceleration error PA, mm/frame²",
    "acceleration_error_root_mm_frame2": "acceleration error RR, mm/frame²",
    "texture_sd": "texture sd",
    "bone_sd_mm": "bone length sd, mm",
    "shape_sd": "betas sd",
}


@dataclass(frozen=True)
class Trial:
    """One row of the table at one seed."""

    row: str
    seed: int
    train: Sequence[str]
    """Arguments of ``s2hand-train``; empty if a checkpoint is only evaluated."""
    evaluate: Sequence[str] = ()
    """Further arguments of ``s2hand-evaluate``."""
    shared: str = ""
    """The trial of another study, ``study/row_s<seed>``, that is the same training."""


@dataclass
class Study:
    """A named list of trials; ``metrics`` are the columns of its table, by name and heading."""

    folder: Path
    trials: Sequence[Trial]
    metrics: dict[str, str]
    reference: str | None = None
    """The row that the others are compared with, in per cent."""
    plotted: Sequence[str] = ("pa_mpjpe_mm", "error_2d_px")

    def main(self, only_report: bool) -> None:
        """Run missing trials unless ``only_report``, then report."""
        if not only_report:
            for trial in self.trials:
                self.run(trial)
        self.report()

    def folder_of(self, trial: Trial) -> Path:
        """The folder of a trial's run."""
        return RUNS / (trial.shared or f"{self.folder.name}/{trial.row}_s{trial.seed}")

    def run(self, trial: Trial) -> None:
        """Train and evaluate, unless finished.

        Raises:
            ValueError: if the run in the folder had other arguments.
        """
        run = self.folder_of(trial)
        if trial.train:
            train(run, trial.train, trial.seed)
        if not (run / "metrics.json").is_file():
            trained = [f"checkpoint={run}/checkpoints/last.ckpt"] if trial.train else []
            command("s2hand-evaluate", *trained, *trial.evaluate, f"out={run}")

    def results(self) -> dict[str, list[Metrics]]:
        """Test metrics of all finished trials, by row."""
        found: dict[str, list[Metrics]] = {}
        for trial in self.trials:
            path = self.folder_of(trial) / "metrics.json"
            if path.is_file():
                metrics = json.loads(path.read_text())["metrics"]["model"]
                found.setdefault(trial.row, []).append(metrics)
        return found

    def report(self) -> None:
        """results.json, the table in README.md, and plot.png."""
        results = self.results()
        (self.folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        text = table(results, self.metrics, self.reference)
        into_readme(self.folder / "README.md", text)
        plotted = {m: self.metrics[m] for m in self.plotted}
        bar_chart(results, plotted, self.folder / "plot.png")
        sys.stdout.write(text)


def only_report(description: str | None) -> bool:
    """Parse the command line of all studies: ``--report`` or nothing."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--report", action="store_true", help="do not train, only report")
    return bool(parser.parse_args().report)


def fine_tuning(terms: Sequence[str], weight: float = 5) -> list[str]:
    """``s2hand-train`` from the base on windows of five frames, with these temporal terms.

    Frames, windows and steps do not depend on the terms. ``weight`` is that of the motion term,
    which is first if there is one; 5 is the best for Slerp on the validation sequences
    (experiments/ablate_motion).
    """
    losses = [f"loss=[{','.join((*FRAME_LOSSES, *terms))}]"]
    if terms and terms[0] not in TEXTURE_SHAPE:
        losses.append(f"loss.{terms[0]}.weight={weight:g}")
    start = [f"init_from={BASE}", "freeze_batch_norm=true", "trainer.max_steps=250"]
    return ["experiment=video", *start, *losses]


def train(run: Path, arguments: Sequence[str], seed: int) -> None:
    """Run ``s2hand-train`` into ``run`` with these arguments, unless finished.

    Raises:
        ValueError: if the run in the folder had other arguments.
    """
    record = run / "arguments.json"
    if record.is_file() and json.loads(record.read_text()) != list(arguments):
        raise ValueError(f"{run} was trained with other arguments ({record}): delete it")
    if (run / "train.json").is_file():
        return
    run.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(list(arguments), indent=1) + "\n")
    names = [f"study={run.parent.name}", f"name={run.name}", f"seed={seed}"]
    command("s2hand-train", *arguments, *names)


def command(program: str, *arguments: str) -> None:
    """Run one of the package's commands from this Python's environment; raise if it fails."""
    sys.stdout.write(f"$ {program} {' '.join(arguments)}\n")
    sys.stdout.flush()
    subprocess.run([Path(sys.executable).parent / program, *arguments], check=True)


def table(
    results: dict[str, list[Metrics]], metrics: dict[str, str], reference: str | None = None
) -> str:
    """Markdown: mean ± standard deviation over seeds, and the change against a reference row."""
    rows = []
    for row, values in results.items():
        cells = [mean_and_deviation(values, metric) for metric in metrics]
        if reference in results and row != reference:
            for place, metric in enumerate(metrics):
                change = mean(values, metric) / mean(results[reference], metric) - 1
                cells[place] += f" ({100 * change:+.0f} %)"
        rows.append([row, *cells])
    return markdown(["", *metrics.values()], rows)


def into_readme(path: Path, text: str, block: str = "results") -> None:
    """Replace the text between the two markers ``<!-- block -->`` of a README."""
    marker = f"<!-- {block} -->"
    parts = path.read_text().split(marker)
    if len(parts) != 3:
        raise ValueError(f"{path} needs two lines {marker} around the table")
    path.write_text(f"{parts[0]}{marker}\n{text}{marker}{parts[2]}")
