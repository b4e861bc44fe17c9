"""Train the checkpoint that ships with the package, shrink it, and evaluate the result.

python -m experiments.pretrained.run             # run what is missing, write file and card
python -m experiments.pretrained.run --report    # only the card's table
"""

from __future__ import annotations

from pathlib import Path

import torch
from experiments.study import Study, Trial, into_readme, only_report, table

from s2hand.files.atomic import atomic_path
from s2hand.pretrained import PRETRAINED
from s2hand.training.checkpoints.reading import checkpoint_file, read_checkpoint

HERE = Path(__file__).parent
METRICS = {
    "pa_mpjpe_mm": "PA-MPJPE, mm",
    "pa_mpvpe_mm": "PA-MPVPE, mm",
    "rr_mpjpe_mm": "RR, mm",
    "auc_pa_50mm": "AUC",
    "error_2d_px": "2D, px",
}
STUDY = Study(
    HERE,
    [
        Trial("trained", 0, ["experiment=pretrained"]),
        Trial("shipped", 0, [], [f"checkpoint={PRETRAINED}"]),
    ],
    METRICS,
    plotted=["pa_mpjpe_mm", "rr_mpjpe_mm", "error_2d_px"],
)


def shrink(source: Path, target: Path) -> None:
    """Keep what prediction and fine-tuning need: weights in half precision, configuration."""
    checkpoint = read_checkpoint(source)
    weights = {
        name: value.half() if value.is_floating_point() else value
        for name, value in checkpoint["state_dict"].items()
    }
    with atomic_path(target) as temporary:
        torch.save({"state_dict": weights, "s2hand": checkpoint["s2hand"]}, temporary)


def main(report: bool) -> None:
    """Train, shrink, evaluate; the table goes to README.md and to the card beside the file."""
    if not report:
        trained, shipped = STUDY.trials
        STUDY.run(trained)
        shrink(STUDY.folder_of(trained) / "checkpoints" / "last.ckpt", checkpoint_file(PRETRAINED))
        STUDY.run(shipped)
    STUDY.report()
    card = checkpoint_file(PRETRAINED).with_suffix(".md")
    into_readme(card, table(STUDY.results(), METRICS))


if __name__ == "__main__":
    main(only_report(__doc__))
