"""Callbacks: the last checkpoint, pictures of what the model sees, one bar for the whole run."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.callbacks import ModelCheckpoint, ProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from s2hand.checkpoint_files import UnwrittenCheckpointError
from s2hand.data.module import HandDataModule
from s2hand.files.atomic import atomic_path
from s2hand.files.progress import PLAIN_SECONDS
from s2hand.model.modes import evaluating
from s2hand.module import S2Hand
from s2hand.objective import NonFiniteLossError
from s2hand.panel import panel
from s2hand.types import HandBatch

_log = logging.getLogger(__name__)


class LastCheckpoint(ModelCheckpoint):
    """``last.ckpt``, kept on Ctrl-C and errors too.

    After a step with a validation it is written when that is done. (Lightning's is written before;
    a run killed during the validation would go on without it, and one killed in its last one would
    end without metrics.) A run that goes on has the metrics that it had.

    None is written when a loss is no longer finite: the weights may be what diverged, and a resumed
    run could only fail again. The checkpoint before it stands. So it does when a checkpoint could
    not be written, and when the last validation is interrupted: it is the result of the run.
    """

    _waits = False
    _metrics: Mapping[str, float] = {}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note the metrics; the trainer will forget its own until it begins."""
        self._metrics = checkpoint["s2hand"].get("metrics", {})

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the trainer the metrics of the checkpoint it goes on from."""
        known = {name: torch.tensor(value) for name, value in self._metrics.items()}
        trainer.callback_metrics.update(known)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save, if it is due; after the validation, if there is one now."""
        loop: Any = trainer.fit_loop
        self._waits = bool(loop.epoch_loop._should_check_val_fx(loop._data_fetcher))
        if not self._waits:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save what waited for the validation."""
        if self._waits:
            self._waits = False
            super().on_train_batch_end(trainer, pl_module, None, None, 0)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Save what was reached, and say so."""
        if isinstance(exception, NonFiniteLossError | UnwrittenCheckpointError):
            return
        if trainer.validating and trainer.global_step == trainer.max_steps:
            return
        _uncount_unfinished_step(trainer)
        try:
            super().on_exception(trainer, pl_module, exception)
        except UnwrittenCheckpointError as error:  # a full disk often is what stopped the run
            _log.error("%s", error)
            return
        if trainer.global_step:
            _log.warning("stopped at step %d; the same command goes on there", trainer.global_step)


def _uncount_unfinished_step(trainer: pl.Trainer) -> None:
    """Have the trainer's counters say that a step which was interrupted has not begun.

    Lightning itself forgets such a step within an epoch, but goes on counting it in the total: the
    run that goes on would validate a step too early, and number its steps wrong.
    """
    loop: Any = trainer.fit_loop.epoch_loop
    counted = loop.batch_progress.total
    if counted.processed == counted.ready:
        return
    counted.reset_on_restart()
    loop.batch_progress.current.reset_on_restart()
    if loop._should_check_val_fx(trainer.fit_loop._data_fetcher):
        loop._batches_that_stepped -= 1  # the run that goes on leaves out this validation, and adds


class Panels(pl.Callback):
    """After every validation (after every epoch without one), a panel of the same few hands.

    Args:
        folder: PNG files go here, named by step; ``latest.png`` is the newest.
        count: hands per panel, spread evenly over the dataset.
    """

    def __init__(self, folder: str | Path, count: int = 6) -> None:
        self.folder, self.count = Path(folder), count
        self._batch: HandBatch | None = None
        self._drawn: int | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw, unless this is the sanity check or not the first process."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        self.write(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the trained model, unless the last validation did."""
        if trainer.is_global_zero and self._drawn != trainer.global_step:
            self.write(trainer, pl_module)

    def write(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write the panel of the current weights, and give it to the loggers that take images."""
        assert isinstance(module, S2Hand)
        batch = self._samples(trainer).to(module.device)
        with evaluating(module):
            picture = Image.fromarray(panel(module.reconstructor, batch))
        self._drawn = trainer.global_step
        newest = self.folder / f"step_{self._drawn:07d}.png"
        with atomic_path(newest) as path:
            picture.save(path)
        with atomic_path(self.folder / "latest.png") as path:
            shutil.copyfile(newest, path)
        for logger in trainer.loggers:
            log_image: Any = getattr(logger, "log_image", None)
            if log_image is not None:
                log_image("panels", [picture], step=trainer.global_step)
            elif isinstance(logger, TensorBoardLogger):
                pixels = np.asarray(picture).transpose(2, 0, 1)
                logger.experiment.add_image("panels", pixels, trainer.global_step)

    def _samples(self, trainer: pl.Trainer) -> HandBatch:
        if self._batch is None:
            data: HandDataModule = trainer.datamodule  # type: ignore[attr-defined]
            split = "val" if data.makers["val"] is not None else "train"
            self._batch = example_batch(data, split, self.count)
        return self._batch


def example_batch(data: HandDataModule, split: str, count: int) -> HandBatch:
    """``count`` samples spread evenly over a split."""
    dataset = data.dataset(split)
    count = min(count, len(dataset))
    return HandBatch.stack([dataset[i * len(dataset) // count] for i in range(count)])


class Progress(ProgressBar):
    """One bar over all steps of the run, with the time left, the loss and the last validation.

    What is no terminal, such as a log, gets a line every ten seconds instead.
    """

    def __init__(self, refresh_steps: int = 10) -> None:
        super().__init__()
        self.refresh_steps = refresh_steps
        self._bar: RichProgress | None = None
        self._said = 0.0
        self._task = TaskID(0)

    def disable(self) -> None:
        """Show nothing (Lightning calls this on every process but the first)."""
        self.refresh_steps = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar at the step the run starts from."""
        if not self.refresh_steps:
            return
        columns = (
            TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[values]}"),
        )  # fmt: skip
        self._bar = RichProgress(*columns)
        self._bar.start()
        self._said = time.monotonic()
        total = int(trainer.estimated_stepping_batches)
        self._task = self._bar.add_task("", total=total, completed=trainer.global_step, values="")

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move the bar every few steps."""
        step = trainer.global_step
        if self._bar is not None and (step % self.refresh_steps == 0 or step == trainer.max_steps):
            self._bar.update(self._task, completed=step, values=self._values(trainer))
            if not self._bar.console.is_terminal and time.monotonic() - self._said >= PLAIN_SECONDS:
                self._say(self._bar)

    def _say(self, bar: RichProgress) -> None:
        self._said, task = time.monotonic(), bar.tasks[0]
        left = f", about {task.time_remaining:.0f} s left" if task.time_remaining else ""
        line = f"training: step {task.completed} of {task.total}{left}  {task.fields['values']}"
        bar.console.print(line, soft_wrap=True, highlight=False)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the new metrics."""
        if self._bar is not None:
            self._bar.update(self._task, values=self._values(trainer))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the bar in the terminal."""
        self._close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Give the terminal back."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    @staticmethod
    def _values(trainer: pl.Trainer) -> str:
        shown = {
            "train/loss": "loss {:.4f}",
            "val/error_2d_px": "2D {:.1f} px",
            "val/pa_mpjpe_mm": "PA {:.1f} mm",
        }
        metrics = trainer.callback_metrics
        return "  ".join(
            text.format(float(metrics[k])) for k, text in shown.items() if k in metrics
        )
