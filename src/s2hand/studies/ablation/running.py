"""Running the rows of an ablation: fine-tune if asked for, measure, write metrics.json."""

from __future__ import annotations

import logging
from pathlib import Path

import hydra
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from s2hand.files.atomic import atomic_path
from s2hand.files.json import write_json
from s2hand.files.locks import lock_folder
from s2hand.studies.ablation.models import rebuilt, without_branch
from s2hand.studies.ablation.rows import Change
from s2hand.studies.ablation.study import AblationStudy
from s2hand.studies.failures import record_failure
from s2hand.training.build import configured, make_data
from s2hand.training.checkpoints.reading import read_checkpoint
from s2hand.training.evaluation import measure, measuring_trainer, results
from s2hand.training.loggers.dashboard import use_checkpoint
from s2hand.training.loggers.wandb_runs import close_wandb
from s2hand.training.run import train

_log = logging.getLogger(__name__)

_OF_TRAINING = ("checkpoint", "panels", "progress")
"""Callbacks of training, not used for measuring."""


class RowsFailedError(RuntimeError):
    """Some rows of a study failed."""


def run_row(study: AblationStudy, name: str) -> None:
    """Fine-tune if the row asks for it, measure, write metrics.json."""
    change, cfg = study.changes[name], study.cfg
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    folder = study.begin(name)
    checkpoint, path, loss = study.checkpoint, str(cfg.checkpoint), study.losses(change)
    if not change.branch_2d:
        checkpoint = without_branch(checkpoint, path, loss, cfg.hand_file)
    if change.finetune is not None:
        if not change.branch_2d:
            path = str(folder / "start.ckpt")
            with atomic_path(path) as temporary:
                torch.save(checkpoint, temporary)
        model = configured(checkpoint, path, cfg.hand_file).model
        train(study.training(name, path, model))
        close_wandb(0)
        path = str(folder / "checkpoints" / "last.ckpt")
        checkpoint = read_checkpoint(path)
    model_cfg = configured(checkpoint, path, cfg.hand_file)
    model_cfg.loss = loss
    module = rebuilt(checkpoint, path, model_cfg, change)
    original = module if change.hand is None else rebuilt(checkpoint, path, model_cfg, Change())
    # Another hand is measured on the data of the checkpoint's hand.
    data = make_data(OmegaConf.create({"data": study.data(change)}), original)
    trainer = _measuring_trainer(cfg, folder)
    use_checkpoint(trainer, path)
    columns = measure(trainer, module, data)
    report = results(path, checkpoint["s2hand"], module, data, columns)
    write_json(folder / "metrics.json", report | {"row": name, "change": change.words()})


def _measuring_trainer(cfg: DictConfig, folder: Path) -> pl.Trainer:
    cfg = cfg.copy()
    with open_dict(cfg):
        cfg.callbacks = {k: v for k, v in (cfg.callbacks or {}).items() if k not in _OF_TRAINING}
        for key in ("model", "hand", "render"):  # set by an experiment; the checkpoint's are used
            cfg.pop(key, None)
        cfg.trainer.enable_checkpointing = False
        cfg.trainer.inference_mode = False  # refinement needs gradients
    return measuring_trainer(cfg, folder)


def check_trainer(cfg: DictConfig) -> None:
    """Raise ValueError for a trainer with several processes: rows run in one, in turn."""
    trainer = hydra.utils.instantiate(cfg.trainer, logger=False, enable_checkpointing=False)
    if trainer.world_size > 1:
        raise ValueError(
            f"the trainer would run {trainer.world_size} processes: an ablation uses one "
            "(trainer=cpu, or trainer=gpu); several on one study share its rows"
        )


def run_rows(study: AblationStudy) -> list[str]:
    """Run the unfinished rows, continuing after failures; return the names of failed rows."""
    failed = []
    for name in study.pending():
        with lock_folder(study.folder / name) as free:
            if not free:
                _log.warning("skipped: another process is working in %s", study.folder / name)
                continue
            if study.is_finished(name):  # by another process, since this one began
                continue
            _log.info("row %s: %s", name, study.changes[name].words())
            try:
                run_row(study, name)
            except Exception as error:  # recorded; the other rows continue
                record_failure(study.folder / name, error, sweep="")
                failed.append(name)
            finally:
                close_wandb(int(name in failed))
    return failed
