"""Adapting refuses, before any work, to replace a checkpoint that it does not own."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import DictConfig

from fixtures.runs import compose_config
from s2hand.prediction.video import check_adapting


def adapting(run: Path, checkpoint: Path | str = "pretrained") -> DictConfig:
    cfg = compose_config("adapt", "source=hand.mp4", "detections=hand.json", f"out={run}")
    cfg.checkpoint = str(checkpoint)
    return cfg


@pytest.mark.parametrize("name", ["last.ckpt", "previous.ckpt"])
def test_the_checkpoint_it_starts_from_is_refused_as_output(name: str, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "adapt.json").write_text('{"residual_px": {}}')
    start = tmp_path / "checkpoints" / name
    start.touch()
    with pytest.raises(ValueError, match=rf"{name} would replace the input"):
        check_adapting(adapting(tmp_path, start))


def test_only_an_adaptation_of_its_own_is_replaced(tmp_path: Path) -> None:
    check_adapting(adapting(tmp_path))  # an empty folder
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(ValueError, match=r"last\.ckpt exists and is not an earlier result"):
        check_adapting(adapting(tmp_path))
    (tmp_path / "metrics.csv").touch()  # an adaptation that was interrupted
    check_adapting(adapting(tmp_path))
    (tmp_path / "train.json").touch()  # a run of s2hand-train
    with pytest.raises(ValueError, match=r"last\.ckpt"):
        check_adapting(adapting(tmp_path))
    (tmp_path / "adapt.json").write_text('{"residual_px": {}}')
    check_adapting(adapting(tmp_path))
