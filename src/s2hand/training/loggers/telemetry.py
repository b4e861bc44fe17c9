"""Telemetry for any logger: gradient norms, images per second, memory."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

_KB_OR_BYTE = 1 if sys.platform == "darwin" else 1024
"""Unit of ``ru_maxrss`` in bytes."""


class Telemetry(pl.Callback):
    """Logs learning rate, gradient norms, speed and memory every ``log_every_n_steps`` steps.

    ``learning_rate`` is that of the step. ``gradient/norm`` and ``gradient/<part>`` are L2 norms
    before clipping, of all parameters and of each part of the network. ``speed/images_per_s``
    counts the frames of all processes, with loading and without validation.
    ``memory/process_gb`` is the peak of the first process without its loaders, ``memory/gpu_gb``
    the peak of its tensors on the GPU.

    The values go to loggers only. They differ between equal runs, so checkpoints and reports do
    not record them.
    """

    def __init__(self) -> None:
        self._frames = 0
        self._seconds = 0.0
        self._since: float | None = None
        self._values: dict[str, float] = {}

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Compute learning rate and norms at the steps that are logged."""
        if trainer.is_global_zero and _is_logged(trainer.global_step + 1, trainer):
            rate = {"learning_rate": float(optimizer.param_groups[0]["lr"])}
            self._values = rate | gradient_norms(pl_module)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count frames and seconds; log at the steps that are logged."""
        now = time.perf_counter()
        if self._since is not None:  # the first batch is a warm-up
            self._frames += batch.index.numel() * trainer.world_size
            self._seconds += now - self._since
        self._since = now
        if self._values and _is_logged(trainer.global_step, trainer):
            values = self._values | memory_gb(pl_module.device)
            if self._frames:
                values["speed/images_per_s"] = self._frames / self._seconds
            for logger in trainer.loggers:
                logger.log_metrics(values, step=trainer.global_step)
            self._values, self._frames, self._seconds = {}, 0, 0.0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the time of the validation out of the speed."""
        self._since = None


def _is_logged(step: int, trainer: pl.Trainer) -> bool:
    return bool(trainer.loggers) and step % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]


def gradient_norms(module: nn.Module) -> dict[str, float]:
    """``gradient/norm`` of all parameters, and ``gradient/<part>`` of the network's parts."""
    squares: dict[str, list[Tensor]] = {}
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            part = name.removeprefix("reconstructor.network.").partition(".")[0]
            norm = torch.linalg.vector_norm(parameter.grad.detach().float())
            squares.setdefault(part, []).append(norm.square())
    sums = {part: torch.stack(values).sum() for part, values in squares.items()}
    if not sums:
        return {}
    norms = {f"gradient/{part}": float(value.sqrt()) for part, value in sums.items()}
    return {"gradient/norm": float(torch.stack(list(sums.values())).sum().sqrt())} | norms


def memory_gb(device: torch.device) -> dict[str, float]:
    """Peak memory of this process, and of its GPU if it has one, in 10^9 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KB_OR_BYTE
    found = {"memory/process_gb": peak / 1e9}
    if device.type == "cuda":
        found["memory/gpu_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
    return found
