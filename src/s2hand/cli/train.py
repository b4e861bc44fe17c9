"""``s2hand-train``: train S2HAND from a composed configuration."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import hydra
import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from s2hand.build import make_data, make_module
from s2hand.checkpoint import CheckpointFiles, check_hand, read_checkpoint
from s2hand.cli.app import command, quiet_libraries
from s2hand.files import write_json
from s2hand.model.modes import freeze_batch_norm
from s2hand.module import S2Hand

_log = logging.getLogger(__name__)


def make_trainer(cfg: DictConfig) -> pl.Trainer:
    """The trainer with the configured callbacks and loggers."""
    callbacks = [hydra.utils.instantiate(c) for c in (cfg.callbacks or {}).values() if c]
    loggers = [hydra.utils.instantiate(c) for c in (cfg.logger or {}).values() if c]
    trainer: pl.Trainer = hydra.utils.instantiate(
        cfg.trainer, callbacks=callbacks, logger=loggers or False, plugins=CheckpointFiles()
    )
    return trainer


def resume_path(cfg: DictConfig) -> Path | None:
    """The checkpoint to go on from, if any."""
    if cfg.resume == "never":
        return None
    if cfg.resume != "auto":
        path = Path(cfg.resume)
        if not path.is_file():
            raise FileNotFoundError(f"resume={path}: no such checkpoint")
        return path
    path = Path(cfg.paths.run) / "checkpoints" / "last.ckpt"
    return path if path.is_file() else None


def initialise(module: S2Hand, path: str) -> None:
    """Copy the weights of another checkpoint of the same hand model, strictly."""
    checkpoint = read_checkpoint(path)
    check_hand(checkpoint, module.reconstructor.hand.name, module.reconstructor.hand.fingerprint)
    module.load_state_dict(checkpoint["state_dict"])


@command("train")
def main(cfg: DictConfig) -> float:
    """Fit, save, report; returns the metric that a sweep minimises."""
    quiet_libraries()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    run = Path(cfg.paths.run)
    module = make_module(cfg)
    if cfg.init_from:
        initialise(module, cfg.init_from)
    if cfg.freeze_batch_norm:
        freeze_batch_norm(module)
    data = make_data(cfg, module)
    trainer = make_trainer(cfg)
    for logger in trainer.loggers:
        logger.log_hyperparams(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    checkpoint = resume_path(cfg)
    if checkpoint:
        _log.info("going on from %s (resume=never starts over)", checkpoint)
    trainer.fit(module, data, ckpt_path=checkpoint)
    trainer.save_checkpoint(run / "checkpoints" / "last.ckpt", weights_only=False)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
    if trainer.is_global_zero:
        write_json(run / "train.json", {"steps": trainer.global_step, "metrics": finite})
        _log.info("checkpoint: %s", run / "checkpoints" / "last.ckpt")
    return finite.get(cfg.sweep_metric, math.inf)


if __name__ == "__main__":
    main()
