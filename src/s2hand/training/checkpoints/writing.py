"""Writing a run's checkpoints, ``last.ckpt`` and ``previous.ckpt``, atomically."""

from __future__ import annotations

import io
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint

from s2hand.files.atomic import atomic_path
from s2hand.files.outputs import Input, check_file
from s2hand.training.checkpoints.reading import (
    LAST,
    PREVIOUS,
    DamagedCheckpointError,
    read_checkpoint,
)
from s2hand.training.objective import NonFiniteLossError

_log = logging.getLogger(__name__)


def check_checkpoints(run: Path, inputs: Iterable[Input]) -> None:
    """Raise ValueError if a run in the folder ``run`` would replace or remove one of ``inputs``."""
    given = list(inputs)
    for name in (LAST, PREVIOUS):
        check_file(run / "checkpoints" / name, given)


class UnwrittenCheckpointError(OSError):
    """A checkpoint could not be written; earlier checkpoints are kept."""


class CheckpointFiles(TorchCheckpointIO):
    """The trainer's plugin that writes and reads checkpoint files.

    A checkpoint is written under a temporary name in its folder, flushed to the disk (``fsync``),
    and then renamed. Without the flush a file system may rename first and then run out of space (on
    network disks, or under quotas) or lose power. Lightning writes through the system's temporary
    folder, from which a rename to another disk is a copy that can be cut short.

    ``last.ckpt`` is renamed to ``previous.ckpt`` once its complete successor is on the disk, so a
    killed process always leaves one complete checkpoint. Checkpoints of another run in the folder
    (``resume=never``) do not become this run's previous one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._folders: set[Path] = set()
        """Folders with checkpoints of this run: it resumed from them, or wrote them."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write ``path`` atomically.

        Raises:
            UnwrittenCheckpointError: the disk is full or refuses; names the checkpoints kept.
        """
        target = Path(path)
        content = io.BytesIO()  # torch's own file writer hides the system's error
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
        self._folders.add(Path(path).resolve().parent)
        return checkpoint

    def _keep_previous(self, last: Path) -> None:
        """Rename the last checkpoint to the previous one, before the new one takes its name."""
        folder = last.resolve().parent
        if folder not in self._folders:
            (folder / PREVIOUS).unlink(missing_ok=True)
            self._folders.add(folder)
        elif last.is_file():
            os.replace(last, folder / PREVIOUS)


def _unwritten(error: OSError, path: Path, size: int) -> UnwrittenCheckpointError:
    """The error with the disk, the size of the checkpoint and the checkpoints kept."""
    folder = path.resolve().parent
    disk = next(place for place in (folder, *folder.parents) if os.path.ismount(place))
    kept = [name for name in (LAST, PREVIOUS) if (folder / name).is_file()]
    room = f"{shutil.disk_usage(disk).free / 1e6:.0f} MB free" if folder.is_dir() else "missing"
    return UnwrittenCheckpointError(
        error.errno,
        f"{error.strerror}: a checkpoint of {size / 1e6:.0f} MB could not be written to {path} "
        f"(the disk at {disk}: {room}); "
        + (f"kept: {', '.join(kept)}" if kept else "there is no earlier checkpoint"),
    )


def newest_checkpoint(folder: str | Path) -> Path | None:
    """The checkpoint that an interrupted run resumes from: the last one, or else the previous one.

    A damaged last checkpoint is renamed to ``last.ckpt.damaged``, with a warning.

    Returns:
        The file; None if there is none.

    Raises:
        DamagedCheckpointError: every checkpoint in the folder is damaged.
        CheckpointError: a checkpoint is of another package, or of a newer format.
    """
    last, previous = Path(folder) / LAST, Path(folder) / PREVIOUS
    there = [path for path in (last, previous) if path.is_file()]
    damaged = [path for path in there if _is_damaged(path)]
    whole = [path for path in there if path not in damaged]
    if damaged and not whole:
        raise DamagedCheckpointError(
            f"{' and '.join(map(str, damaged))}: damaged, and there is no other checkpoint of this "
            "run; start over with resume=never, or resume from another file with resume=FILE"
        )
    if last in damaged:
        aside = last.with_name(f"{LAST}.damaged")
        with suppress(FileNotFoundError):  # another process of the run renamed it
            os.replace(last, aside)
        _log.warning(
            "%s is damaged, renamed to %s; resuming from the previous one", last, aside.name
        )
    return whole[0] if whole else None


def _is_damaged(path: Path) -> bool:
    try:
        read_checkpoint(path)
    except DamagedCheckpointError:
        return True
    return False


class LastCheckpoint(ModelCheckpoint):
    """Writes ``last.ckpt``, also on Ctrl-C and errors.

    After a step with a validation the checkpoint is written when the validation is done. (Lightning
    writes it before: a run killed during the validation would resume without it, and one killed in
    the last validation would end without metrics.) A resumed run has the metrics of its checkpoint.

    No checkpoint is written when a loss is not finite, as a resumed run could only fail again; nor
    when a checkpoint could not be written, or when the last validation is interrupted, whose
    metrics are the result of the run. The checkpoint before is kept.
    """

    _waits_for_validation = False
    _metrics: Mapping[str, float] = {}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the metrics; the trainer clears its own before training starts."""
        self._metrics = checkpoint["s2hand"].get("metrics", {})

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the trainer the metrics of the checkpoint it resumes from."""
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
        """Save if a checkpoint is due; a step with a validation saves after it."""
        loop: Any = trainer.fit_loop
        self._waits_for_validation = bool(loop.epoch_loop._should_check_val_fx(loop._data_fetcher))
        if not self._waits_for_validation:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the checkpoint that waited for the validation."""
        if self._waits_for_validation:
            self._waits_for_validation = False
            super().on_train_batch_end(trainer, pl_module, None, None, 0)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Save the state at the interruption, and log its step."""
        if isinstance(exception, NonFiniteLossError | UnwrittenCheckpointError):
            return
        if trainer.validating and trainer.global_step == trainer.max_steps:
            return
        _uncount_unfinished_step(trainer)
        try:
            super().on_exception(trainer, pl_module, exception)
        except UnwrittenCheckpointError as error:  # often the disk is full
            _log.error("%s", error)
            return
        if trainer.global_step:
            _log.warning("stopped at step %d; the same command resumes there", trainer.global_step)


def _uncount_unfinished_step(trainer: pl.Trainer) -> None:
    """Reset the trainer's counters to before a step that was interrupted.

    Lightning resets its count within the epoch, but not the total: the resumed run would validate a
    step too early and number its steps wrong.
    """
    loop: Any = trainer.fit_loop.epoch_loop
    counted = loop.batch_progress.total
    if counted.processed == counted.ready:
        return
    counted.reset_on_restart()
    loop.batch_progress.current.reset_on_restart()
    if loop._should_check_val_fx(trainer.fit_loop._data_fetcher):
        loop._batches_that_stepped -= 1  # the resumed run skips this validation and adds 1
