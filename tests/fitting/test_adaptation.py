"""Adaptation of weights: the objective of short windows."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fixtures.runs import compose_config
from s2hand.cli.common.app import quiet_libraries
from s2hand.fitting.adaptation import Adaptation, adapt, prepare
from s2hand.training.checkpoints.reading import read_checkpoint

SMALL = (
    "data=synthetic", "data.batch_size=2", "data.train.size=4", "data.val=null",
    "data.test=null", "data.train.image_px=32",
    "model.network.encoder={name: mobilenetv3_small_050, weights: none, input_px: 32}",
    "render.resolution=16", "callbacks={panels: null, progress: null}", "logger=none",
    "+trainer.enable_progress_bar=false", "trainer.max_steps=1", "stop.frames=2",
)  # fmt: skip
"""Four rendered photographs, a small network, one step."""
TEMPORAL = ["quaternion_slerp", "texture_consistency", "shape_consistency", "scale_consistency"]


def adapt_in(folder: Path, *overrides: str) -> Adaptation:
    quiet_libraries()
    return adapt(compose_config("adapt", *SMALL, f"paths.run={folder}", *overrides))


def test_photographs_leave_out_the_temporal_terms_with_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "s2hand.fitting.adaptation"):
        adapted = adapt_in(tmp_path, "window=image")
    (line,) = [r.getMessage() for r in caplog.records if r.name == "s2hand.fitting.adaptation"]
    assert ", ".join(TEMPORAL) in line
    kept = list(adapted.module.objective.losses)
    assert "photometric" in kept
    assert not set(TEMPORAL) & set(kept)
    assert adapted.report["losses"] == kept
    assert adapted.report["steps"] == 1
    assert list(read_checkpoint(adapted.checkpoint)["s2hand"]["config"]["loss"]) == kept


def test_windows_that_hold_every_term_keep_them(caplog: pytest.LogCaptureFixture) -> None:
    cfg = compose_config("adapt", *SMALL, "window=clip3", "data.train.size=4")
    assert set(TEMPORAL) <= set(prepare(cfg)[0].objective.losses)
    assert "leave out" not in caplog.text


def test_terms_that_no_window_holds_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="quaternion_slerp"):
        adapt_in(tmp_path, "window=image", "loss=[quaternion_slerp]")
