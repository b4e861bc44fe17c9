"""The shipped checkpoint under all changes of s2hand-ablate, on a few rendered hands.

python -m experiments.ablate_checkpoint.run             # run what is missing, then report
python -m experiments.ablate_checkpoint.run --report    # only report
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
from experiments.study import RUNS, command, into_readme, only_report

from s2hand.export.charts import bar_chart
from s2hand.export.tables import markdown
from s2hand.studies.ablation.table import ablation_table

HERE = Path(__file__).parent
STUDY = RUNS / HERE.name
OTHER_HAND = STUDY / "other_hand.npz"
ROWS = (
    "full", "no_2d_branch", "noise_4px", "drop_30", "refined", "refined_no_2d_branch",
    "refined_noise_2px", "refined_noise_4px", "refined_noise_8px", "refined_drop_10",
    "refined_drop_30", "refined_drop_50", "other_data", "other_hand", "finetune",
    "finetune_no_pixels", "finetune_no_bones", "finetune_no_2d_branch", "finetune_noise_4px",
)  # fmt: skip
PLOTTED = {"pa_mpjpe_mm": "PA-MPJPE, mm", "rr_mpjpe_mm": "RR, mm", "error_2d_px": "2D, px"}


def write_other_hand(path: Path) -> None:
    """The open hand with its pose components in reverse order: the same hand, other codes."""
    source = files("s2hand.hand.assets").joinpath("open_hand_right.npz")
    with source.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        content = dict(arrays)
    content["hands_components"] = content["hands_components"][::-1].copy()
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **content)


def main(report: bool) -> None:
    """Run the rows; the table goes to README.md, the numbers to results.json, beside a plot."""
    if not report:
        write_other_hand(OTHER_HAND)
        command(
            "s2hand-ablate", "checkpoint=pretrained", f"study={HERE.name}",
            f"rows=[{','.join(ROWS)}]", "+data.test.size=64", "+data.train.size=1024",
            "optim.schedule.warmup_steps=20", f"ablation.other_hand.hand={OTHER_HAND}",
            "ablation.other_hand.allow_other_hand=true",
            'ablation.other_data.data=["+data.test.view=narrow"]',
        )  # fmt: skip
    table = ablation_table(STUDY, ROWS)
    into_readme(HERE / "README.md", markdown(*table.cells(), words=2))
    results = {row.name: [row.metrics] for row in table.rows}
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    bar_chart(results, PLOTTED, HERE / "plot.png")


if __name__ == "__main__":
    main(only_report(__doc__))
