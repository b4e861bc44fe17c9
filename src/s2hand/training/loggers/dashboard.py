"""The dashboard at Weights & Biases beyond scalars and panels: joints, meshes, files, lineage.

Active only with a wandb logger, on the first process. ``docs/dashboard.md`` describes the layout.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import wandb
from jaxtyping import Int
from PIL import Image
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor

from s2hand.export.mesh_files import write_mesh
from s2hand.model.modes import evaluating
from s2hand.training.callbacks import example_batch
from s2hand.training.checkpoints.artifacts import PREFIX, is_artifact
from s2hand.training.checkpoints.reading import checkpoint_file
from s2hand.training.module import S2Hand
from s2hand.training.panel import flat_code
from s2hand.types import Hand, HandBatch


class Dashboard(pl.Callback):
    """Logs joint errors, a mesh, its texture and tables after every validation and test.

    The keys are ``<split>/joints`` (bars, and a table with the deviations over frames),
    ``hand/mesh`` (a posed, textured hand of the split), ``hand/texture`` (the same hand opened
    flat, at scale 1), and after a test ``test/sequences`` (metrics of every unbroken sequence of
    frames).
    """

    def __init__(self) -> None:
        self._batch: HandBatch | None = None
        self._shown: int | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Add the built configuration and the revision to wandb's configuration of the run."""
        run = wandb_run(trainer)
        if run is not None:
            record = getattr(pl_module, "record", {})
            built = {**record.get("config", {}), "revision": record.get("revision")}
            run.config.update(built, allow_val_change=True)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the validation set, except in the sanity check."""
        if not trainer.sanity_checking and wandb_run(trainer) is not None:
            self._show(trainer, pl_module, "val")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the trained hand, unless the last validation did."""
        if wandb_run(trainer) is not None and self._shown != trainer.global_step:
            split = "val" if _data(trainer).makers["val"] is not None else "train"
            self._show_hand(trainer, pl_module, split)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the test set, sequence by sequence."""
        if wandb_run(trainer) is None:
            return
        self._show(trainer, pl_module, "test")
        metric: Any = pl_module.metrics["sequences"]  # type: ignore[index]
        rows = metric.table(_data(trainer).dataset("test").names)
        if rows:
            log(trainer, {"test/sequences": table(rows)})

    def _show(self, trainer: pl.Trainer, module: pl.LightningModule, split: str) -> None:
        metric: Any = module.metrics[split]  # type: ignore[index]
        rows = metric.joint_table()
        if rows:
            title = f"{split}: PA error of each joint, mm"
            bars = wandb.plot.bar(table(rows), "joint", "pa_mm", title)
            log(trainer, {f"{split}/joints": bars})
        self._show_hand(trainer, module, split)

    def _show_hand(self, trainer: pl.Trainer, module: pl.LightningModule, split: str) -> None:
        assert isinstance(module, S2Hand)
        if self._batch is None:
            self._batch = example_batch(_data(trainer), split, 1)
        layer = module.reconstructor.hand
        with evaluating(module), torch.no_grad():
            hand = module(self._batch.to(module.device), render=False).hand
            flat = layer(flat_code(hand.code.fold(), "back").unfold(*hand.code.pose.shape[:2]))
        log_hands(trainer, layer.faces, {"hand/mesh": hand, "hand/texture": flat})
        self._shown = trainer.global_step


def _data(trainer: pl.Trainer) -> Any:
    return trainer.datamodule  # type: ignore[attr-defined]


def wandb_run(trainer: pl.Trainer) -> Any | None:
    """The wandb run of the trainer's logger; None without one, and on all processes but the first.

    Typed ``Any``: the run of ``WANDB_MODE=disabled`` is another class with the same methods.
    """
    loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
    return loggers[0].experiment if loggers and trainer.is_global_zero else None


def log(trainer: pl.Trainer, values: dict[str, Any]) -> None:
    """Log at the trainer's step, to wandb only."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_metrics(values, step=trainer.global_step)


def table(rows: list[dict[str, Any]]) -> wandb.Table:
    """A table of rows with different keys; missing cells are None."""
    columns: list[str | int] = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[row.get(str(name)) for name in columns] for row in rows]
    return wandb.Table(columns=columns, data=cells)


def log_hands(trainer: pl.Trainer, faces: Int[Tensor, "1538 3"], hands: dict[str, Hand]) -> None:
    """Log the first hand of each batch as a textured GLB, which wandb copies into the run."""
    with tempfile.TemporaryDirectory() as folder:
        shown = {}
        for key, hand in hands.items():
            first = hand.fold()[0]
            path = Path(folder) / f"{key.replace('/', '-')}.glb"
            write_mesh(
                path,
                first.vertices.numpy(force=True),
                faces.numpy(force=True),
                first.code.texture.clamp(0, 1).numpy(force=True),
            )
            shown[key] = wandb.Object3D(str(path))
        log(trainer, shown)


def log_panel(trainer: pl.Trainer, path: Path) -> None:
    """Log a panel picture from a file."""
    if wandb_run(trainer) is not None:
        with Image.open(path) as picture:
            log(trainer, {"panels": [wandb.Image(picture)]})


def artifact_name(path: Path) -> str:
    """``<study>-<run>`` of ``<study>/<run>/checkpoints/last.ckpt``; else folder and file."""
    parts = path.resolve().with_suffix("").parts
    chosen = parts[-4:-2] if parts[-2:-1] == ("checkpoints",) else parts[-2:]
    return re.sub(r"[^\w.-]+", "-", "-".join(chosen)).strip("-")[:120]


def log_checkpoint(trainer: pl.Trainer, path: Path, begun_from: str | None = None) -> None:
    """Register a finished checkpoint as an artifact of type ``model``, aliases latest and step-N.

    The file is not copied: an offline run uploads it from its path when it is synchronised.

    Args:
        trainer: its metrics go into the artifact's metadata.
        path: the checkpoint's file.
        begun_from: the checkpoint of the initial weights, for the metadata.
    """
    run = wandb_run(trainer)
    if run is None:
        return
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    metadata = {"step": trainer.global_step, "begun_from": begun_from, "metrics": metrics}
    artifact = _model(path, metadata)
    run.log_artifact(artifact, aliases=["latest", f"step-{trainer.global_step}"])


def use_checkpoint(trainer: pl.Trainer, name: str) -> None:
    """Record that the run reads a checkpoint: an edge of wandb's lineage graph if it is online.

    wandb identifies a local file by its content, as the artifact logged by the run that wrote it.
    Offline runs have no edges; ``inputs`` in their configuration names the file.
    """
    run = wandb_run(trainer)
    if run is None:
        return
    run.config.update({"inputs": {"checkpoint": name}}, allow_val_change=True)
    if not run.offline and not run.disabled:
        known = name.removeprefix(PREFIX) if is_artifact(name) else _model(checkpoint_file(name))
        run.use_artifact(known)


def _model(path: Path, metadata: dict[str, Any] | None = None) -> wandb.Artifact:
    artifact = wandb.Artifact(artifact_name(path), type="model", metadata=metadata)
    artifact.add_file(str(path), name=path.name, policy="immutable", skip_cache=True)
    return artifact
