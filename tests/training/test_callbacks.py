"""Callbacks: panels on disk and one progress bar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
from omegaconf import DictConfig
from PIL import Image

from fixtures.frames import PlainFrames
from fixtures.runs import Interrupt, fit
from s2hand.data.module import HandDataModule
from s2hand.training import callbacks
from s2hand.training.callbacks import Panels, Progress, example_batch
from s2hand.window import Window


class Images(pl.loggers.CSVLogger):
    """A logger that takes images, as that of wandb does."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="")
        self.images: list[tuple[str, tuple[int, int], int]] = []

    def log_image(self, key: str, images: list[Image.Image], step: int) -> None:
        self.images.append((key, images[0].size, step))


@pytest.fixture
def small_panel(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Draws fast; whether the module was in training mode at each call."""
    training: list[bool] = []

    def draw(reconstructor: Any, batch: Any) -> np.ndarray:
        training.append(reconstructor.training)
        return panel(reconstructor, batch, 32)

    panel = callbacks.panel
    monkeypatch.setattr(callbacks, "panel", draw)
    return training


def test_panels_are_written_after_every_validation_and_at_the_end(
    smoke: DictConfig, tmp_path: Path, small_panel: list[bool]
) -> None:
    smoke.trainer.update(max_steps=3, val_check_interval=2, num_sanity_val_steps=1)
    folder = tmp_path / "panels"
    modes: list[bool] = []

    class Mode(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            modes.append(pl_module.training)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            modes.append(pl_module.training)

    logger = Images(tmp_path)
    module_trainer = fit(smoke, [Panels(folder, count=2), Mode(), _Loggers(logger)], save=False)
    assert sorted(p.name for p in folder.iterdir()) == [
        "latest.png", "step_0000002.png", "step_0000003.png",
    ]  # fmt: skip
    size = (6 * 32, 18 + 2 * 32)
    for path in folder.iterdir():
        with Image.open(path) as image:
            assert (image.size, image.mode) == (size, "RGB")
            image.load()
    newest = (folder / "step_0000003.png").read_bytes()
    assert (folder / "latest.png").read_bytes() == newest
    assert newest != (folder / "step_0000002.png").read_bytes()
    assert small_panel == [False, False]
    assert modes == [True] * 4, "the model is left in the mode it was in"
    assert logger.images == [("panels", size, 2), ("panels", size, 3)]
    assert module_trainer[1].global_step == 3


class _Loggers(pl.Callback):
    def __init__(self, *loggers: Any) -> None:
        self.loggers = list(loggers)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        trainer.loggers = self.loggers


def test_the_last_step_is_drawn_once(
    smoke: DictConfig, tmp_path: Path, small_panel: list[bool]
) -> None:
    smoke.trainer.update(max_steps=2, val_check_interval=2)
    fit(smoke, [Panels(tmp_path / "panels", count=1)], save=False)
    assert len(small_panel) == 1


def test_without_validation_the_training_set_is_drawn_at_the_end(
    smoke: DictConfig, tmp_path: Path, small_panel: list[bool]
) -> None:
    smoke.data.val = None
    smoke.trainer.update(max_steps=1, val_check_interval=None)
    fit(smoke, [Panels(tmp_path / "panels", count=3)], save=False)
    with Image.open(tmp_path / "panels" / "step_0000001.png") as image:
        assert image.size == (6 * 32, 18 + 3 * 32)


def test_examples_are_spread_evenly_over_the_split() -> None:
    data = HandDataModule(val=lambda: PlainFrames(12), train=lambda: PlainFrames(3))
    assert example_batch(data, "val", 4).index[:, 0].tolist() == [0, 3, 6, 9]
    assert example_batch(data, "train", 6).index[:, 0].tolist() == [0, 1, 2]
    clips = HandDataModule(val=lambda: PlainFrames(12), window=Window(3))
    assert example_batch(clips, "val", 2).index.tolist() == [[0], [6]]


def test_the_bar_counts_the_whole_run_and_shows_the_metrics(
    smoke: DictConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    smoke.trainer.update(max_steps=6, val_check_interval=3)
    fit(smoke, [Progress(refresh_steps=2)], save=False)
    shown = capsys.readouterr().out
    assert "6/6" in shown
    assert "loss 0." in shown
    assert "px" in shown
    assert "PA" in shown


def test_without_a_terminal_a_line_is_said_now_and_then(
    smoke: DictConfig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "PLAIN_SECONDS", 0.0)
    smoke.trainer.max_steps = 4
    fit(smoke, [Progress(refresh_steps=2)], save=False)
    lines = [line for line in capsys.readouterr().out.splitlines() if "of 4" in line]
    assert [line[:21] for line in lines] == ["training: step 2 of 4", "training: step 4 of 4"]
    assert "loss 0." in lines[0]
    monkeypatch.setattr(callbacks, "PLAIN_SECONDS", 60.0)
    fit(smoke, [Progress(refresh_steps=2)], save=False)
    assert "of 4" not in capsys.readouterr().out


def test_the_bar_starts_where_a_resumed_run_does(smoke: DictConfig) -> None:
    smoke.trainer.max_steps = 2
    fit(smoke)
    smoke.trainer.max_steps = 3
    started: list[tuple[float, float | None]] = []

    class Look(pl.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            task = bar._bar.tasks[0]
            started.append((task.completed, task.total))

    bar = Progress()
    fit(smoke, [bar, Look()], save=False)
    assert started == [(2, 3)]


@pytest.mark.parametrize("disabled", [True, False])
def test_the_terminal_is_given_back_after_an_error(smoke: DictConfig, disabled: bool) -> None:
    bar = Progress()
    if disabled:
        bar.disable()
    opened: list[bool] = []

    class Look(pl.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            opened.append(bar._bar is not None)

    with pytest.raises(RuntimeError, match="interrupted"):
        fit(smoke, [bar, Look(), Interrupt("on_train_batch_end", 0, "RuntimeError")])
    assert opened == [not disabled]
    assert bar._bar is None
