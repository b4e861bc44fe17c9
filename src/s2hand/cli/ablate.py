"""``s2hand-ablate``: one checkpoint under many changes, in one study and one table."""

from __future__ import annotations

import logging
from pathlib import Path

import hydra
import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console
from rich.markup import escape

from s2hand.cli.ablation.models import rebuilt, without_branch
from s2hand.cli.ablation.rows import ROW_KEYS, Change
from s2hand.cli.ablation.study import AblationStudy
from s2hand.cli.ablation.table import ablation_table
from s2hand.cli.common.app import close_wandb, command, quiet_libraries
from s2hand.cli.sweeps.failures import record_failure
from s2hand.files.atomic import atomic_path
from s2hand.files.json import write_json
from s2hand.files.locks import own_folder
from s2hand.training.build import configured, make_data
from s2hand.training.checkpoints.reading import read_checkpoint
from s2hand.training.evaluation import measure, measuring_trainer, results
from s2hand.training.loggers.dashboard import use_checkpoint
from s2hand.training.run import train

_log = logging.getLogger(__name__)

_OF_TRAINING = ("checkpoint", "panels", "progress")
"""Callbacks that have nothing to do where nothing is trained."""
_OTHER_HAND = "ablation.other_hand.hand, of a row: rows=[full,other_hand]"
_ELSEWHERE = {
    "hand": _OTHER_HAND,
    "hand.model": _OTHER_HAND,
    "model": "nothing: it comes with the checkpoint",
    "render": "nothing: it comes with the checkpoint",
    "init_from": "checkpoint",
    "refine_steps": "ablation.refined.refine_steps",
}
"""Settings of other commands that have another name here."""


class RowsFailedError(RuntimeError):
    """Some rows of a study have no result."""


def run_row(study: AblationStudy, name: str) -> None:
    """Fine-tune if the row says so, measure, write metrics.json."""
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
    own = module if change.hand is None else rebuilt(checkpoint, path, model_cfg, Change())
    # Whatever hand is measured: the data stay those of the checkpoint's.
    data = make_data(OmegaConf.create({"data": study.data(change)}), own)
    trainer = _measuring_trainer(cfg, folder)
    use_checkpoint(trainer, path)
    columns = measure(trainer, module, data)
    report = results(path, checkpoint["s2hand"], module, data, columns)
    write_json(folder / "metrics.json", report | {"row": name, "change": change.words()})


def _measuring_trainer(cfg: DictConfig, folder: Path) -> pl.Trainer:
    cfg = cfg.copy()
    with open_dict(cfg):
        cfg.callbacks = {k: v for k, v in (cfg.callbacks or {}).items() if k not in _OF_TRAINING}
        for key in ("model", "hand", "render"):  # of an experiment; the checkpoint has its own
            cfg.pop(key, None)
        cfg.trainer.enable_checkpointing = False
        cfg.trainer.inference_mode = False  # refinement follows gradients
    return measuring_trainer(cfg, folder)


def check_trainer(cfg: DictConfig) -> None:
    """Raise ValueError for a trainer of several processes: rows follow each other in one."""
    trainer = hydra.utils.instantiate(cfg.trainer, logger=False, enable_checkpointing=False)
    if trainer.world_size > 1:
        raise ValueError(
            f"the trainer would run {trainer.world_size} processes: an ablation uses one "
            "(trainer=cpu, or trainer=gpu); several on one study share its rows"
        )


def run_rows(study: AblationStudy) -> list[str]:
    """Do what is missing, whatever fails; the names of the rows that failed."""
    failed = []
    for name in study.pending():
        with own_folder(study.folder / name) as free:
            if not free:
                _log.warning("left out: another process is at work in %s", study.folder / name)
                continue
            if study.is_finished(name):  # by another process, since this one began
                continue
            _log.info("row %s: %s", name, study.changes[name].words())
            try:
                run_row(study, name)
            except Exception as error:  # of any kind: it is written down, and the others go on
                record_failure(study.folder / name, error, sweep="")
                failed.append(name)
            finally:
                close_wandb(int(name in failed))
    return failed


@command("ablate", elsewhere=_ELSEWHERE, open_parts=ROW_KEYS)
def main(cfg: DictConfig) -> None:
    """Run the rows, write and print the table."""
    quiet_libraries()
    check_trainer(cfg)
    study = AblationStudy(cfg)
    study.claim()
    failed = run_rows(study)
    table = ablation_table(study.folder, list(map(str, cfg.ablation)), cfg.metrics or ())
    for suffix, text in ((".md", table.markdown()), (".csv", table.csv())):
        with atomic_path(study.folder / f"ablation{suffix}") as path:
            path.write_text(text, encoding="utf-8")
    console = Console(highlight=False)
    table.show(console)
    written = escape(str(study.folder / "ablation.md"))
    console.print(f"written: {written} (.csv beside it)", soft_wrap=True)
    if failed and HydraConfig.get().mode != RunMode.MULTIRUN:
        raise RowsFailedError(
            f"{len(failed)} of {len(study.changes)} rows failed: {', '.join(failed)} (failed.json "
            "in their folders says where); the same command tries them again"
        )


if __name__ == "__main__":
    main()
