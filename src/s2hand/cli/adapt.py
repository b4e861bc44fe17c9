"""``s2hand-adapt``: fit a model to one unlabelled video, then predict the video."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape

from s2hand import __version__
from s2hand.adaptation import BestResidual
from s2hand.cli.common.app import command, quiet_libraries
from s2hand.cli.prediction.clip import ClipOptions, check_options, predict_track
from s2hand.cli.prediction.summary import TrackSummary
from s2hand.data.frames.dataset import FramesDataset
from s2hand.data.module import HandDataModule
from s2hand.files.json import write_json
from s2hand.model.modes import freeze_batch_norm
from s2hand.training.build import (
    configured,
    git_revision,
    initialise,
    make_data,
    make_module,
    make_trainer,
)
from s2hand.training.checkpoints.reading import read_checkpoint
from s2hand.training.loggers.dashboard import log_checkpoint, use_checkpoint
from s2hand.training.module import S2Hand
from s2hand.training.objective import NonFiniteLossError

_log = logging.getLogger(__name__)

_ELSEWHERE = {
    "formats": "predict.formats",
    "smooth_sigma": "predict.smooth_sigma",
    "refine_steps": "+predict.refine_steps",
    "fps": "+predict.fps",
    "every": "+data.train.every and +data.test.every",
}
"""Settings of s2hand-predict that have another name here."""


@dataclass(frozen=True)
class Adaptation:
    """An adapted model and how it came about."""

    module: S2Hand
    """With the best weights, in evaluation mode."""
    data: HandDataModule
    checkpoint: Path
    """The file that ``s2hand.load`` reads."""
    report: dict[str, Any]
    """What adapt.json says."""


def adapt(cfg: DictConfig) -> Adaptation:
    """Fit on the training frames of ``cfg.data``, keep the best weights, write them and adapt.json.

    ``cfg`` is ``conf/adapt.yaml``, composed by Hydra. Nothing is predicted, no label is read.

    Raises:
        ValueError: what cannot be adapted to, and why.
        CheckpointError: ``cfg.checkpoint`` cannot be read, or is of another hand.
    """
    begin = time.monotonic()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    best: BestResidual = hydra.utils.instantiate(cfg.stop)
    trainer = make_trainer(cfg)
    check_trainer(trainer)
    module, data = prepare(cfg)
    if cfg.checkpoint:
        use_checkpoint(trainer, cfg.checkpoint)
    trainer.callbacks.insert(0, best)  # type: ignore[attr-defined]  # panels show the best weights
    ended = "limit"  # of steps or time
    try:
        trainer.fit(module, data)
    except NonFiniteLossError as error:
        ended = "diverged"
        _log.warning("%s. The best weights before that are kept", error)
    checkpoint = Path(cfg.paths.run) / "checkpoints" / "last.ckpt"
    trainer.save_checkpoint(checkpoint, weights_only=True)
    log_checkpoint(trainer, checkpoint, begun_from=cfg.checkpoint)
    report = {
        "checkpoint": cfg.checkpoint,
        "residual_px": {"before": best.before_px, "after": best.after_px},
        "best_step": best.best_step,
        "steps": trainer.global_step,
        "ended": "converged" if best.converged else ended,
        "seconds": round(time.monotonic() - begin, 1),
        "frames": len(data.dataset("train")),
        "losses": list(cfg.loss),
        "seed": cfg.seed,
        "version": __version__,
        "revision": git_revision(),
        "checks": [[step, _finite(residual)] for step, residual in best.checks],
    }
    write_json(Path(cfg.paths.run) / "adapt.json", report)
    module = module.to(trainer.strategy.root_device).eval()
    return Adaptation(module, data, checkpoint, report)


def check_trainer(trainer: pl.Trainer) -> None:
    """Raise ValueError for a trainer that takes no step, or that runs in several processes."""
    if trainer.max_steps < 1:
        raise ValueError(
            f"trainer.max_steps={trainer.max_steps}: adapting takes at least 1 step; to predict "
            "with a checkpoint as it is, use s2hand-predict"
        )
    if trainer.world_size > 1:
        raise ValueError(
            f"the trainer would run {trainer.world_size} processes: adapting to one video uses one "
            "(trainer=cpu, or trainer=gpu)"
        )


def prepare(cfg: DictConfig) -> tuple[S2Hand, HandDataModule]:
    """The module to adapt, and the frames."""
    if cfg.checkpoint:
        cfg = with_recorded_model(cfg)
    module = make_module(cfg)
    if cfg.checkpoint:
        initialise(module, cfg.checkpoint)
        # One video is too little to learn statistics from; new heads have none to keep.
        freeze_batch_norm(module)
    return module, make_data(cfg, module)


def with_recorded_model(cfg: DictConfig) -> DictConfig:
    """The configuration with the checkpoint's network, hand and camera; the renderer is the run's.

    The length that the scale term holds the hand to belongs to the hand, and comes with it.
    """
    found = configured(read_checkpoint(cfg.checkpoint), cfg.checkpoint, cfg.hand_file)
    cfg = cfg.copy()
    cfg.model = found.model
    cfg.model.renderer = cfg.render
    target = OmegaConf.select(found, "loss.scale.fn.target_m")
    if target is not None:
        cfg.scale_target_m = target
    return cfg


def check_choices(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Raise for choices that a checkpoint has made already, and for several videos at once."""
    if "parts" in cfg.data:
        raise ValueError("data=mixed is several sets: adapt to one, or mix them in s2hand-train")
    named = [text for text in overrides if re.match(r"[+~]*(model|hand)[.=]", text)]
    if cfg.checkpoint and named:
        raise ValueError(
            f"{named[0]}: network and hand come with the checkpoint ({cfg.checkpoint}): leave it "
            "out; where the hand's file lies elsewhere now, give hand_file=FILE"
        )


def predict_video(
    cfg: DictConfig, module: S2Hand, data: HandDataModule, out: Path
) -> TrackSummary | None:
    """Predict the whole video of ``data`` into ``out``; None where ``data`` are not of a video."""
    make: Any = data.makers["train"]
    if cfg.predict is None or not isinstance(make(), FramesDataset):
        return None
    # Whatever part of it was trained on.
    return predict_track(module, make(split="all"), out, clip_options(cfg))


def clip_options(cfg: DictConfig) -> ClipOptions:
    """How to predict the video."""
    options: ClipOptions = hydra.utils.instantiate(cfg.predict, _convert_="all")
    check_options(options)
    return options


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@command("adapt", elsewhere=_ELSEWHERE)
def main(cfg: DictConfig) -> None:
    """Adapt, predict, say where everything is."""
    quiet_libraries()
    check_choices(cfg, HydraConfig.get().overrides.task)
    if cfg.predict is not None:
        clip_options(cfg)  # refuse now what could not be written later
    adapted = adapt(cfg)
    report, run = adapted.report, Path(cfg.paths.run)
    before, after = report["residual_px"].values()
    console = Console(soft_wrap=True, highlight=False)
    console.print(
        f"2D residual {before:.2f} -> {after:.2f} px of the 224 crop, best after step "
        f"{report['best_step']} of {report['steps']} ({report['ended']}, {report['seconds']:.0f} s)"
    )
    if report["best_step"] == 0:
        _log.warning("no step lowered the residual: these are the weights it began with")
    summary = predict_video(cfg, adapted.module, adapted.data, run)
    if summary is not None:
        write_json(run / "adapt.json", report | {"track": asdict(summary)})
        console.print(summary.table())
    console.print(f"checkpoint and files: [bold]{escape(str(run))}[/]")


if __name__ == "__main__":
    main()
