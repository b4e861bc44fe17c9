"""Callbacks: pictures of what the model sees, and one progress bar for the whole run."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from PIL import Image
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from s2hand.data.module import HandDataModule
from s2hand.files.atomic import atomic_path
from s2hand.files.progress import PLAIN_SECONDS
from s2hand.model.modes import evaluating
from s2hand.training.module import S2Hand
from s2hand.training.panel import panel
from s2hand.types import HandBatch


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

    Output that is not a terminal, such as a log, gets a line every ten seconds instead.
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
