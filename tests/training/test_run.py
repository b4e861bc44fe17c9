"""Training a configuration: earlier runs are known again, and no file of the user is replaced."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fixtures.runs import compose_config
from s2hand.training.run import finished_before, train

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


@pytest.mark.parametrize("name", ["last.ckpt", "previous.ckpt"])
def test_the_checkpoint_it_starts_from_is_not_replaced(name: str, tmp_path: Path) -> None:
    start = tmp_path / "checkpoints" / name
    start.parent.mkdir()
    start.write_bytes(b"trained for days")
    cfg = compose_config("train", "experiment=smoke", f"init_from={start}", "resume=never")
    cfg.paths.run = str(tmp_path)
    with pytest.raises(ValueError, match=rf"{name} would replace the input"):
        train(cfg)
    assert start.read_bytes() == b"trained for days"


def test_a_file_that_is_not_of_a_run_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text('{"trains": ["Zug"]}')
    cfg = compose_config("train", "experiment=smoke", "resume=never")
    cfg.paths.run = str(tmp_path)
    with pytest.raises(ValueError, match=r"train\.json exists and is not an earlier result"):
        train(cfg)
    assert "Zug" in (tmp_path / "train.json").read_text()
