"""``s2hand-adapt``: fit a model to one unlabelled video, then predict the video."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape

from s2hand.cli.common.app import command, quiet_libraries
from s2hand.cli.common.overrides import check_choices
from s2hand.files.json import write_json
from s2hand.fitting.adaptation import adapt
from s2hand.prediction.video import check_adapting, check_predicting, predict_video

_log = logging.getLogger(__name__)

_ELSEWHERE = {
    "formats": "predict.formats",
    "smooth_sigma": "predict.smooth_sigma",
    "refine_steps": "+predict.refine_steps",
    "fps": "+predict.fps",
    "every": "+data.train.every and +data.test.every",
}
"""Settings of s2hand-predict that have another name here."""


@command("adapt", elsewhere=_ELSEWHERE)
def main(cfg: DictConfig) -> None:
    """Adapt, predict, and print the place of the files."""
    quiet_libraries()
    check_choices(cfg, HydraConfig.get().overrides.task)
    check_adapting(cfg)
    check_predicting(cfg, Path(cfg.paths.run))
    adapted = adapt(cfg)
    report, run = adapted.report, Path(cfg.paths.run)
    before, after = report["residual_px"].values()
    console = Console(soft_wrap=True, highlight=False)
    console.print(
        f"2D residual {before:.2f} -> {after:.2f} px of the 224 crop, best after step "
        f"{report['best_step']} of {report['steps']} ({report['ended']}, {report['seconds']:.0f} s)"
    )
    if report["best_step"] == 0:
        _log.warning("no step lowered the residual: the result has the weights it started with")
    summary = predict_video(cfg, adapted.module, adapted.data, run)
    if summary is not None:
        write_json(run / "adapt.json", report | {"track": asdict(summary)})
        console.print(summary.table())
    console.print(f"checkpoint and files: [bold]{escape(str(run))}[/]")


if __name__ == "__main__":
    main()
