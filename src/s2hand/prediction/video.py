"""Prediction of the recording that a configuration of ``s2hand-adapt`` describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from s2hand.data.frames.dataset import FramesDataset
from s2hand.data.module import HandDataModule
from s2hand.prediction.clip import ClipOptions, check_options, predict_track
from s2hand.prediction.summary import TrackSummary
from s2hand.training.module import S2Hand


def predict_video(
    cfg: DictConfig, module: S2Hand, data: HandDataModule, out: Path
) -> TrackSummary | None:
    """Predict the whole video of ``data`` into ``out``; None where ``data`` are not of a video."""
    make: Any = data.makers["train"]
    if cfg.predict is None or not isinstance(make(), FramesDataset):
        return None
    # Whatever part of it was trained on.
    return predict_track(module, make(split="all"), out, clip_options(cfg))


def clip_options(cfg: DictConfig) -> ClipOptions:
    """How to predict the video."""
    options: ClipOptions = hydra.utils.instantiate(cfg.predict, _convert_="all")
    check_options(options)
    return options
