"""Evaluation of a module: metrics, predictions for leaderboards, pictures."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from s2hand import __version__
from s2hand.data.module import HandDataModule
from s2hand.export.mesh_files import write_mesh
from s2hand.files.atomic import atomic_path
from s2hand.metric.leaderboard import FREIHAND_FRAMES, write_freihand, write_ho3d
from s2hand.training.build import git_revision, make_trainer
from s2hand.training.checkpoints.reading import checkpoint_file
from s2hand.training.module import S2Hand
from s2hand.training.panel import panel
from s2hand.types import HandBatch

_log = logging.getLogger(__name__)


def data_config(cfg: DictConfig, recorded: Mapping[str, Any], training: bool = False) -> DictConfig:
    """The test set of the chosen data, or of the recorded one with values given for it.

    What only training needs may be missing, unless ``training`` asks for it.
    """
    given = cfg.get("data") or OmegaConf.create({})
    if "_target_" in given:
        given.val = None
        if not training:
            given.train = None
        chosen = OmegaConf.create(
            OmegaConf.to_container(given, resolve=True, throw_on_missing=True)
        )
        assert isinstance(chosen, DictConfig)
        return chosen
    data = OmegaConf.create(dict(recorded))
    OmegaConf.set_struct(data, True)  # an unknown key fails
    merged = OmegaConf.merge(data, given)
    assert isinstance(merged, DictConfig)
    return merged


def results_folder(cfg: DictConfig) -> Path:
    """Where results go: ``out``, or the run that the checkpoint belongs to.

    Of one that is given by name (``pretrained``, ``wandb:...``): ``runs/<study>/<name>``.
    """
    if cfg.out:
        return Path(cfg.out)
    if checkpoint_file(cfg.checkpoint) != Path(cfg.checkpoint):
        return Path(cfg.paths.run)
    folder = Path(cfg.checkpoint).resolve().parent
    return folder.parent if folder.name == "checkpoints" else folder


def measuring_trainer(cfg: DictConfig, out: Path) -> pl.Trainer:
    """Its loggers write into ``out``, but no metrics.csv: it would replace that of the training."""
    cfg = cfg.copy()
    cfg.paths.run = str(out)
    cfg.logger = {name: logger for name, logger in cfg.logger.items() if name != "csv"}
    return make_trainer(cfg)


def measure(
    trainer: pl.Trainer, module: S2Hand, data: HandDataModule
) -> dict[str, dict[str, float]]:
    """Columns of metrics: the model, and the mean pose where there are labels."""
    trainer.test(module, data, verbose=False)
    columns: dict[str, dict[str, float]] = {"model": {}, "mean pose": {}}
    for key, value in trainer.callback_metrics.items():
        split, name = key.split("/", 1)
        columns["mean pose" if split == "mean_pose" else "model"][name] = float(value)
    mean = columns["mean pose"]
    columns["mean pose"] = {
        name: mean[name] for name in ("pa_mpjpe_mm", "pa_mpvpe_mm") if name in mean
    }
    return {title: values for title, values in columns.items() if values}


def results(
    checkpoint: str,
    record: Mapping[str, Any],
    module: S2Hand,
    data: HandDataModule,
    columns: dict[str, dict[str, float]],
) -> dict[str, Any]:
    """What metrics.json says of a module that :func:`measure` has just measured.

    ``record`` is what its checkpoint says of itself, under the key ``s2hand``.
    """
    test: Any = module.metrics["test"]
    sequences: Any = module.metrics["sequences"]
    return {
        "checkpoint": checkpoint,
        "hand": record["hand"]["name"],
        "trained_revision": record.get("revision"),
        "revision": git_revision(),
        "version": __version__,
        "frames": len(data.dataset("test")),
        "metrics": columns,
        "joints": test.joint_table(),
        "sequences": sequences.table(data.dataset("test").names),
    }


def warn_if_replaced(path: Path, test_set: Any) -> None:
    """Warn if a file holds the results of another test set."""
    try:
        before = json.loads(path.read_text(encoding="utf-8")).get("test_set")
    except (OSError, ValueError, AttributeError):  # none there, or nothing worth keeping
        return
    if before not in (None, test_set):
        was = before.get("_target_", before) if isinstance(before, dict) else before
        _log.warning(
            "%s: the results of another test set (%s) are replaced; out=FOLDER keeps both",
            path, was,
        )  # fmt: skip


@torch.no_grad()
def write_predictions(module: S2Hand, data: HandDataModule, path: Path) -> None:
    """A leaderboard's ``pred.json``: joints and vertices of every test frame, metres, in order.

    The leaderboard is the test set's, FreiHAND's where it has none. Every frame of the test set
    once; a set that is not FreiHAND's whole one is written with a warning. HO-3D's is whole unless
    a part of it was chosen.
    """
    test = data.dataset("test")
    frames, write = len(test), write_ho3d if test.leaderboard == "ho3d" else write_freihand
    if write is write_freihand and frames != FREIHAND_FRAMES:
        _log.warning(
            "%s: %d frames; FreiHAND's leaderboard takes %d", path, frames, FREIHAND_FRAMES
        )
    joints, vertices = [], []
    for batch in data.in_order("test"):
        hand = module(batch.to(module.device), render=False).hand.fold()
        joints.append(hand.joints.numpy(force=True))
        vertices.append(hand.vertices.numpy(force=True))
    write(path, np.concatenate(joints), np.concatenate(vertices), frames)


@torch.no_grad()
def write_pictures(module: S2Hand, batch: HandBatch, folder: Path) -> None:
    """Write panel.png of some hands, and example.glb of the first."""
    batch = batch.to(module.device)
    picture = Image.fromarray(panel(module.reconstructor, batch))
    with atomic_path(folder / "panel.png") as path:
        picture.save(path)
    hand = module(batch[:1], render=False).hand.fold()[0]
    write_mesh(
        folder / "example.glb",
        vertices=hand.vertices.numpy(force=True),
        faces=module.reconstructor.hand.faces.numpy(force=True),
        colors=hand.code.texture.clamp(0, 1).numpy(force=True),
    )
