"""Adaptation of a model's weights to one unlabelled recording."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from s2hand import __version__
from s2hand.data.module import HandDataModule
from s2hand.files.json import write_json
from s2hand.fitting.stopping import BestResidual
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


@dataclass(frozen=True)
class Adaptation:
    """An adapted model, its data and its report."""

    module: S2Hand
    """With the best weights, in evaluation mode."""
    data: HandDataModule
    checkpoint: Path
    """The file that ``s2hand.load`` reads."""
    report: dict[str, Any]
    """The content of adapt.json."""


def adapt(cfg: DictConfig) -> Adaptation:
    """Fit the weights to the training frames of ``cfg.data``; write the best ones and adapt.json.

    No label is read, and nothing is predicted.

    Args:
        cfg: ``conf/adapt.yaml``, composed by Hydra.

    Raises:
        ValueError: the trainer, the data or the losses do not allow adaptation; says which.
        CheckpointError: ``cfg.checkpoint`` cannot be read, or is of another hand.

    Example:
        >>> import tempfile
        >>> from hydra import compose, initialize_config_module
        >>> overrides = [
        ...     "data=synthetic_sequence", "data.train.dataset.sequences=1", "data.test=null",
        ...     "data.train.dataset.frames_per_sequence=4", "data.train.dataset.image_px=64",
        ...     "model.network.encoder={name: mobilenetv3_small_050, weights: none, input_px: 64}",
        ...     "data.batch_size=2", "trainer.max_steps=1", "stop.frames=2", "render.resolution=32",
        ...     "callbacks={panels: null, progress: null}", "logger=none",
        ...     "+trainer.enable_progress_bar=false",
        ... ]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with initialize_config_module("s2hand.conf", version_base="1.3"):
        ...         cfg = compose("adapt", [*overrides, f"out={folder}"])
        ...     adapted = adapt(cfg)
        >>> adapted.report["steps"], adapted.report["frames"], adapted.module.training
        (1, 4, False)
    """
    begin = time.monotonic()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    best: BestResidual = hydra.utils.instantiate(cfg.stop)
    trainer = make_trainer(cfg)
    check_trainer(trainer)
    module, data = prepare(cfg)
    if cfg.checkpoint:
        use_checkpoint(trainer, cfg.checkpoint)
    trainer.callbacks.insert(0, best)  # type: ignore[attr-defined]  # first: panels then show the best weights
    ended = "limit"  # of steps or time
    try:
        trainer.fit(module, data)
    except NonFiniteLossError as error:
        ended = "diverged"
        _log.warning("%s. The best weights before it are kept", error)
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
        "losses": list(module.objective.losses),
        "seed": cfg.seed,
        "version": __version__,
        "revision": git_revision(),
        "checks": [[step, _finite(residual)] for step, residual in best.checks],
    }
    write_json(Path(cfg.paths.run) / "adapt.json", report)
    module = module.to(trainer.strategy.root_device).eval()
    return Adaptation(module, data, checkpoint, report)


def check_trainer(trainer: pl.Trainer) -> None:
    """Raise ValueError for a trainer without steps, or with several processes."""
    if trainer.max_steps < 1:
        raise ValueError(
            f"trainer.max_steps={trainer.max_steps}: adapting takes at least 1 step; to predict "
            "with an unchanged checkpoint, use s2hand-predict"
        )
    if trainer.world_size > 1:
        raise ValueError(
            f"the trainer would run {trainer.world_size} processes: adapting to one video uses one "
            "(trainer=cpu or trainer=gpu)"
        )


def prepare(cfg: DictConfig) -> tuple[S2Hand, HandDataModule]:
    """The module to adapt, and the frames."""
    if cfg.checkpoint:
        cfg = with_recorded_model(cfg)
    module = make_module(cfg)
    if cfg.checkpoint:
        initialise(module, cfg.checkpoint)
        # One video is too little data for new statistics; new heads have none to keep.
        freeze_batch_norm(module)
    data = make_data(cfg, module)
    leave_out_long_terms(module, data.window.frames)
    return module, data


def leave_out_long_terms(module: S2Hand, frames: int) -> None:
    """Leave out terms that compare more frames than a window holds; one log line names them.

    They are left out of the recorded configuration, too.

    Args:
        module: changed in place.
        frames: of a window.

    Raises:
        ValueError: no term is left.
    """
    kept = module.objective.for_clips(frames)
    left_out = [name for name in module.objective.losses if name not in kept.losses]
    if left_out:
        _log.warning(
            "windows of %d frame(s) leave out %s, which compare more", frames, ", ".join(left_out)
        )
        module.objective = kept
        recorded = module.record["config"]
        recorded["loss"] = {name: recorded["loss"][name] for name in kept.losses}


def with_recorded_model(cfg: DictConfig) -> DictConfig:
    """The configuration with the checkpoint's network, hand and camera, and the run's renderer.

    The target length of the scale term belongs to the hand, so it comes from the checkpoint too.
    """
    found = configured(read_checkpoint(cfg.checkpoint), cfg.checkpoint, cfg.hand_file)
    cfg = cfg.copy()
    cfg.model = found.model
    cfg.model.renderer = cfg.render
    target = OmegaConf.select(found, "loss.scale.fn.target_m")
    if target is not None:
        cfg.scale_target_m = target
    return cfg


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
