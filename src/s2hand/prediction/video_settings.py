"""The settings of ``s2hand-video``: checked before the first stage, and recorded for each stage."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from s2hand.fitting.adaptation import check_trainer, prepare
from s2hand.training.build import load
from s2hand.training.run import described


def rehearse(cfg: DictConfig, adapt: bool) -> None:
    """Build the module and data of adaptation, or of prediction, and discard them.

    A wrong value or a missing package is then reported before detection, not minutes later. This
    takes one or two seconds.

    Raises:
        ValueError: for a setting that its part does not take, or from building the part.
    """
    try:
        if adapt:
            check_trainer(hydra.utils.instantiate(cfg.trainer, logger=False))
            prepare(cfg)
        else:
            load(cfg.checkpoint, hand=cfg.hand_file)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise ValueError(f"no such setting: {error}") from error


def take_as_clip(cfg: DictConfig, skip: Sequence[str]) -> None:
    """Mark the pictures of a folder as a sequence, without those that cannot be read."""
    for split in ("train", "test"):
        for key, value in (("sequence", True), ("skip", list(skip))):
            OmegaConf.update(cfg, f"data.{split}.{key}", value, force_add=True)


def adapting(cfg: DictConfig) -> dict[str, Any]:
    """The settings that the adapted checkpoint depends on, by dotted key, without file names."""
    return _settings(cfg, without=("predict", "data.test", "out"))


def predicting(cfg: DictConfig) -> dict[str, Any]:
    """The settings that the track depends on, besides the checkpoint, by dotted key."""
    return _settings(cfg, only=("predict", "data.train"))


def _settings(
    cfg: DictConfig, only: Collection[str] = (), without: Collection[str] = ()
) -> dict[str, Any]:
    cfg = cfg.copy()
    cfg.source = cfg.detections = ""  # stages depend on their content, not on their names
    cfg.checkpoint = None

    def among(key: str, parts: Collection[str]) -> bool:
        return any(key == part or key.startswith(f"{part}.") for part in parts)

    return {
        key: value for key, value in described(cfg).items()
        if (not only or among(key, only)) and not among(key, without)
    }  # fmt: skip
