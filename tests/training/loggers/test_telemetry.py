"""Gradient norms, speed and memory: right in number, and to the loggers alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import nn

from fixtures.runs import fit
from s2hand.training.loggers.telemetry import Telemetry, gradient_norms, memory_gb


class Kept(pl.loggers.CSVLogger):
    """A logger that remembers every call."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="")
        self.calls: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.calls.append((int(step or 0), dict(metrics)))


def test_norms_by_hand() -> None:
    network = nn.Module()
    network.neck = nn.Linear(1, 2, bias=False)
    network.head = nn.Linear(2, 1, bias=True)
    module = nn.Module()
    module.reconstructor = nn.Module()
    module.reconstructor.network = network
    assert gradient_norms(module) == {}
    network.neck.weight.grad = torch.tensor([[3.0], [0.0]])
    network.head.weight.grad = torch.tensor([[0.0, 4.0]])
    network.head.bias.grad = torch.tensor([12.0])
    norms = gradient_norms(module)
    assert norms == pytest.approx(
        {"gradient/norm": 13.0, "gradient/neck": 3.0, "gradient/head": 160**0.5}
    )


def test_memory_is_that_of_a_python_process() -> None:
    assert 0.05 < memory_gb(torch.device("cpu"))["memory/process_gb"] < 500


def test_a_run_is_measured_every_so_often(smoke: DictConfig, tmp_path: Path) -> None:
    smoke.trainer.update(max_steps=5, log_every_n_steps=2, gradient_clip_val=1e-6)
    logger = Kept(tmp_path)
    totals: list[float] = []

    class Look(pl.Callback):
        def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
            trainer.loggers = [logger]

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            grads = [p.grad.flatten() for p in pl_module.parameters() if p.grad is not None]
            totals.append(float(torch.cat(grads).double().norm()))

    _, trainer = fit(smoke, [Look(), Telemetry()], save=False)
    seen = [(step, values) for step, values in logger.calls if "gradient/norm" in values]
    assert [step for step, _ in seen] == [2, 4]
    for step, values in seen:
        assert values["gradient/norm"] == pytest.approx(totals[step - 1], rel=1e-5)
        assert values["gradient/norm"] > 1e-5, "before clipping"
        assert 0 < values["speed/images_per_s"] < 1e6
        assert values["memory/process_gb"] > 0
        assert values["learning_rate"] > 0
    assert not any(name.startswith(("speed", "memory")) for name in trainer.callback_metrics)
