"""Training a composed configuration: start or resume, fit, report."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from s2hand.files.atomic import remove_leftovers
from s2hand.files.json import read_json_object, write_json
from s2hand.files.outputs import check_file, has_keys
from s2hand.model.modes import freeze_batch_norm
from s2hand.training.build import initialise, make_data, make_module, make_trainer
from s2hand.training.checkpoints.reading import LAST
from s2hand.training.checkpoints.renamed import current_names
from s2hand.training.checkpoints.writing import check_checkpoints, newest_checkpoint
from s2hand.training.loggers.dashboard import log_checkpoint, use_checkpoint
from s2hand.training.loggers.metrics_csv import MetricsCsv

_log = logging.getLogger(__name__)
_NOT_DESCRIBED = {
    "study", "name", "paths", "resume", "sweep_metric", "callbacks", "logger", "default_root_dir",
    "enable_progress_bar", "compile_encoder",
}  # fmt: skip
"""Keys of the configuration and its trainer that do not affect the trained weights."""


def resume_path(cfg: DictConfig) -> Path | None:
    """The checkpoint to resume from, or None to start anew.

    Raises:
        FileNotFoundError: ``cfg.resume`` is a path without a file.
    """
    if cfg.resume == "never":
        return None
    if cfg.resume != "auto":
        path = Path(cfg.resume)
        if not path.is_file():
            raise FileNotFoundError(f"resume={path}: no such checkpoint")
        return path
    return newest_checkpoint(Path(cfg.paths.run) / "checkpoints")


def described(cfg: DictConfig) -> dict[str, Any]:
    """The resolved values that identify a run, by dotted key, without names and paths."""
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    kept = {str(key): value for key, value in content.items() if key not in _NOT_DESCRIBED}
    kept["trainer"] = {k: v for k, v in kept["trainer"].items() if k not in _NOT_DESCRIBED}
    return dict(flat(kept))


def flat(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, leaf) pairs of nested mappings, as they read back from JSON."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from flat(item, f"{where}.{key}".strip("."))
    else:
        is_json = not isinstance(value, float) or math.isfinite(value)
        yield where, value if is_json else str(value)


def finished_before(cfg: DictConfig) -> dict[str, float] | None:
    """The metrics of the run of ``cfg`` if it has finished in its folder, else None.

    A larger ``trainer.max_steps`` than the finished run had also gives None.

    Raises:
        ValueError: the folder holds a finished run of another configuration.
    """
    path = Path(cfg.paths.run) / "train.json"
    if cfg.resume != "auto" or not path.is_file():
        return None
    report = read_json_object(path)
    before, now = current_names(report.get("config")), described(cfg)
    if before is None:  # older versions did not record it
        return None
    other = sorted(key for key in before | now if before.get(key) != now.get(key))
    if other == ["trainer.max_steps"] and now[other[0]] > before[other[0]]:
        return None
    if other:
        key = other[0]
        raise ValueError(
            f"{path.parent} is a finished run of another configuration ({len(other)} values differ;"
            f" {key} was {before.get(key)}, is now {now.get(key)}): choose another name= or study=,"
            " or start over with resume=never"
        )
    return dict(report["metrics"])


def train(cfg: DictConfig) -> float | None:
    """Train, write checkpoint and train.json; return the metric that a sweep minimises, or None.

    A run that has finished already is not trained again.

    Args:
        cfg: ``conf/train.yaml``, composed by Hydra.

    Raises:
        ValueError: another configuration has finished in ``cfg.paths.run``, or the run would
            replace ``cfg.init_from`` or a ``train.json`` that is not a run's.
        CheckpointError: ``cfg.init_from`` cannot be read, or is of another hand.
    """
    finished = finished_before(cfg)
    if finished is not None:
        _log.info("finished already: %s (resume=never starts over)", cfg.paths.run)
        return finished.get(cfg.sweep_metric)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    run = Path(cfg.paths.run)
    last = run / "checkpoints" / LAST
    check_checkpoints(run, [cfg.init_from])
    check_file(run / "train.json", recognised=has_keys("steps", "metrics"))
    trainer = make_trainer(cfg)  # first: its loggers report if the rest cannot be built
    module = make_module(cfg)
    if cfg.init_from:
        initialise(module, cfg.init_from, cfg.allow_missing or ())
        use_checkpoint(trainer, cfg.init_from)
    elif cfg.allow_missing:
        raise ValueError(
            f"allow_missing={cfg.allow_missing} applies to init_from, which is not set"
        )
    if cfg.freeze_batch_norm:
        freeze_batch_norm(module)
    if cfg.compile_encoder:
        module.reconstructor.network.encoder.compile()
    data = make_data(cfg, module)
    if trainer.is_global_zero:  # the run is unfinished until train.json is written
        (run / "train.json").unlink(missing_ok=True)
        remove_leftovers(run)
    checkpoint = resume_path(cfg)
    if checkpoint:
        _log.info("resuming from %s (resume=never starts over)", checkpoint)
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCsv):
                logger.resume()
    trainer.fit(module, data, ckpt_path=checkpoint)
    trainer.save_checkpoint(last, weights_only=False)
    log_checkpoint(trainer, last, begun_from=cfg.init_from)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
    if trainer.is_global_zero:
        report = {"steps": trainer.global_step, "metrics": finite, "config": described(cfg)}
        write_json(run / "train.json", report)
        _log.info("checkpoint: %s", last)
    return finite.get(cfg.sweep_metric)
