"""Where and when a run writes its checkpoints, ``last.ckpt`` and ``previous.ckpt``: all or none."""

from __future__ import annotations

import io
import logging
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint

from s2hand.files.atomic import atomic_path
from s2hand.training.checkpoints.reading import (
    LAST,
    PREVIOUS,
    DamagedCheckpointError,
    read_checkpoint,
)
from s2hand.training.objective import NonFiniteLossError

_log = logging.getLogger(__name__)


class UnwrittenCheckpointError(OSError):
    """A checkpoint could not be written; those before it stand."""


class CheckpointFiles(TorchCheckpointIO):
    """How the trainer writes and reads checkpoints.

    A checkpoint is written beside its place and flushed to the disk (``fsync``), and only then
    renamed. Without the flush a file system may rename first and run out of space afterwards (over
    the network, and under quotas), or lose power in between. Lightning would write by way of the
    system's temporary folder, where a rename to another disk is a copy, which can be half.

    ``last.ckpt`` becomes ``previous.ckpt`` when its successor lies beside it, whole: whenever the
    process is killed, one of the two is there and good. What another run has left in the folder
    (``resume=never``) does not become the previous one of this.
    """

    def __init__(self) -> None:
        super().__init__()
        self._own: set[Path] = set()
        """The folders whose checkpoints are of this run: it went on from them, or wrote them."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write ``path``, all or nothing.

        Raises:
            UnwrittenCheckpointError: the disk is full, or will not have it; names what is kept.
        """
        target = Path(path)
        content = io.BytesIO()  # torch, writing to a file itself, hides what the disk says
        torch.save(checkpoint, content)
        try:
            with atomic_path(target) as temporary:
                with temporary.open("wb") as file:
                    file.write(content.getbuffer())
                    file.flush()
                    os.fsync(file.fileno())
                if target.name == LAST:
                    self._keep_previous(target)
        except OSError as error:
            raise _unwritten(error, target, content.tell()) from error

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """See :func:`read_checkpoint`."""
        checkpoint = read_checkpoint(path)
        self._own.add(Path(path).resolve().parent)
        return checkpoint

    def _keep_previous(self, last: Path) -> None:
        """Call the last checkpoint the previous one; the next thing is to rename the new one."""
        folder = last.resolve().parent
        if folder not in self._own:
            (folder / PREVIOUS).unlink(missing_ok=True)
            self._own.add(folder)
        elif last.is_file():
            os.replace(last, folder / PREVIOUS)


def _unwritten(error: OSError, path: Path, size: int) -> UnwrittenCheckpointError:
    """The error with what a person wants to know: which disk, how much, what is left."""
    folder = path.resolve().parent
    disk = next(place for place in (folder, *folder.parents) if os.path.ismount(place))
    kept = [name for name in (LAST, PREVIOUS) if (folder / name).is_file()]
    room = f"{shutil.disk_usage(disk).free / 1e6:.0f} MB free" if folder.is_dir() else "not there"
    return UnwrittenCheckpointError(
        error.errno,
        f"{error.strerror}: a checkpoint of {size / 1e6:.0f} MB could not be written to {path} "
        f"(the disk at {disk}: {room}); "
        + (f"what was there is kept: {', '.join(kept)}" if kept else "there was none before it"),
    )


def newest_checkpoint(folder: str | Path) -> Path | None:
    """The checkpoint that an interrupted run goes on from: the last one, or else the previous one.

    A last one that is damaged is called ``last.ckpt.damaged`` from now on, with a warning; the next
    to be written takes its place.

    Returns:
        The file; None if there is none.

    Raises:
        DamagedCheckpointError: whatever there is, is damaged.
        CheckpointError: it is of another package, or of a newer format.
    """
    last, previous = Path(folder) / LAST, Path(folder) / PREVIOUS
    there = [path for path in (last, previous) if path.is_file()]
    damaged = [path for path in there if _is_damaged(path)]
    whole = [path for path in there if path not in damaged]
    if damaged and not whole:
        raise DamagedCheckpointError(
            f"{' and '.join(map(str, damaged))}: damaged, and there is no other checkpoint of this "
            "run; start over with resume=never, or name one to go on from, resume=FILE"
        )
    if last in damaged:
        aside = last.with_name(f"{LAST}.damaged")
        with suppress(FileNotFoundError):  # another process of the run did it
            os.replace(last, aside)
        _log.warning("%s is damaged, now %s; going on from the one before", last, aside.name)
    return whole[0] if whole else None


def _is_damaged(path: Path) -> bool:
    try:
        read_checkpoint(path)
    except DamagedCheckpointError:
        return True
    return False


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
