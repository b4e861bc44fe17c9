"""Checkpoints of every format there ever was load: to predict, to start from, and to go on from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

import s2hand
from fixtures.checkpoints.make import FOLDER, predicted
from fixtures.runs import compose_config, fit, last_checkpoint
from s2hand.training.build import initialise, make_module
from s2hand.training.checkpoints.reading import FORMAT, read_checkpoint

FORMATS = range(1, FORMAT + 1)
"""1 is the first one: every version wrote a number."""


@pytest.fixture(params=FORMATS)
def stored(request: pytest.FixtureRequest) -> Path:
    """The stored checkpoint of a format; ``make.py`` beside it makes that of a new one."""
    return FOLDER / f"format_{request.param}.ckpt"


def config(folder: Path) -> DictConfig:
    return compose_config(
        "train", "experiment=smoke", "callbacks.panels=null", "callbacks.progress=null",
        "logger=none", "+trainer.enable_progress_bar=false", "trainer.max_steps=3",
        "trainer.val_check_interval=3", f"paths.runs={folder}",
    )  # fmt: skip


def test_it_is_of_its_format_and_small(stored: Path) -> None:
    assert read_checkpoint(stored)["s2hand"]["format"] == int(stored.stem.rpartition("_")[2])
    assert stored.stat().st_size < 500_000


def test_its_model_predicts_what_it_did(stored: Path) -> None:
    expected = torch.tensor(json.loads(stored.with_suffix(".json").read_text())["joints_m"])
    assert (expected[0] - expected[1]).abs().max() > 2e-5, "it does look at the picture"
    torch.testing.assert_close(torch.tensor(predicted(stored)), expected, rtol=0, atol=3e-6)


def test_a_new_run_can_start_from_its_weights(stored: Path, tmp_path: Path) -> None:
    module = make_module(config(tmp_path))
    initialise(module, str(stored))
    expected = s2hand.load(stored).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in module.state_dict().items())


def test_its_run_goes_on(stored: Path, tmp_path: Path) -> None:
    cfg = config(tmp_path)
    last_checkpoint(cfg).parent.mkdir(parents=True)
    shutil.copy(stored, last_checkpoint(cfg))
    _, trainer = fit(cfg)
    assert trainer.global_step == 3
    assert read_checkpoint(last_checkpoint(cfg))["s2hand"]["format"] == FORMAT
