"""Training a configuration: runs that earlier versions finished are known again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fixtures.runs import compose_config
from s2hand.training.run import finished_before

STORED = Path(__file__).parents[1] / "fixtures" / "stored_runs" / "smoke"
"""``s2hand-train experiment=smoke`` before the modules moved: train.json names the old paths."""


def test_a_finished_run_of_an_earlier_version_is_not_trained_again(tmp_path: Path) -> None:
    run = shutil.copytree(STORED, tmp_path / "run")
    recorded = json.loads((run / "train.json").read_text())
    assert recorded["config"]["loss.laplacian.fn._target_"].startswith("s2hand.loss.mesh.")
    cfg = compose_config("train", "experiment=smoke", f"paths.run={run}")
    assert finished_before(cfg) == recorded["metrics"]


def test_another_configuration_in_its_folder_is_refused(tmp_path: Path) -> None:
    run = shutil.copytree(STORED, tmp_path / "run")
    cfg = compose_config("train", "experiment=smoke", f"paths.run={run}", "seed=1")
    with pytest.raises(ValueError, match=r"seed.* 0.* 1"):
        finished_before(cfg)
