"""Evaluation of a module: metrics, predictions for leaderboards, pictures."""

from __future__ import annotations

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
from s2hand.files.json import read_json_object
from s2hand.files.outputs import MANIFEST, Outputs, files_named_in, has_keys
from s2hand.metric.leaderboard import FREIHAND_FRAMES, write_freihand, write_ho3d
from s2hand.training.build import git_revision, make_trainer
from s2hand.training.checkpoints.reading import checkpoint_file
from s2hand.training.module import S2Hand
from s2hand.training.panel import panel
from s2hand.types import HandBatch

_log = logging.getLogger(__name__)

RESULTS = ("metrics.json", "panel.png", "example.glb", "index.html")
"""The files of an evaluation; on demand also ``pred.json``."""


def data_config(cfg: DictConfig, recorded: Mapping[str, Any], training: bool = False) -> DictConfig:
    """The test set of the chosen data, or of the recorded data with the given changes.

    Values that only training needs may be missing, unless ``training`` asks for them.
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
    """The folder of the results: ``out``, or the run that the checkpoint belongs to.

    For a checkpoint given by name (``pretrained``, ``wandb:...``): ``runs/<study>/<name>``.
    """
    if cfg.out:
        return Path(cfg.out)
    if checkpoint_file(cfg.checkpoint) != Path(cfg.checkpoint):
        return Path(cfg.paths.run)
    folder = Path(cfg.checkpoint).resolve().parent
    return folder.parent if folder.name == "checkpoints" else folder


def result_files(cfg: DictConfig, data: DictConfig, out: Path) -> Outputs:
    """The planned files of an evaluation in ``out``; ``data`` is its data configuration.

    Raises:
        ValueError: one of them would replace a file of the user.
    """
    inputs = files_named_in(OmegaConf.to_container(data, resolve=True))
    outputs = Outputs(out, "evaluate", [cfg.checkpoint, cfg.hand_file, *inputs])
    metrics, manifest = out / "metrics.json", out / MANIFEST
    is_evaluated = has_keys("test_set")(metrics) or has_keys("checkpoint", "metrics")(metrics)

    def recognised(path: Path) -> bool:  # other files only in folders of older versions
        return is_evaluated and (path == metrics or not manifest.exists())

    return outputs.plan([*RESULTS, *(["pred.json"] if cfg.pred_json else [])], recognised)


def measuring_trainer(cfg: DictConfig, out: Path) -> pl.Trainer:
    """A trainer whose loggers write into ``out``, except metrics.csv, which training wrote."""
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
    """The content of metrics.json for a module that :func:`measure` has just measured.

    ``record`` is the entry ``s2hand`` of its checkpoint.
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
        before = read_json_object(path).get("test_set")
    except ValueError:  # no file, or a damaged one
        return
    if before not in (None, test_set):
        was = before.get("_target_", before) if isinstance(before, dict) else before
        _log.warning(
            "%s: the results of another test set (%s) are replaced; out=FOLDER keeps both",
            path, was,
        )  # fmt: skip


@torch.no_grad()
def write_predictions(module: S2Hand, data: HandDataModule, path: Path) -> None:
    """Write a leaderboard's ``pred.json``: joints and vertices of every test frame, in metres.

    The format is that of the test set's leaderboard, or else FreiHAND's. Every frame is written
    once, in order. A set that is not the whole of FreiHAND is written with a warning; HO-3D's is
    whole unless a part of it was chosen.
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
