"""Prediction of the recording that a configuration of ``s2hand-adapt`` describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from s2hand.data.frames.dataset import FramesDataset
from s2hand.data.module import HandDataModule
from s2hand.files.outputs import Input, Outputs, check_file, files_named_in, has_keys
from s2hand.prediction.clip import WRITER, ClipOptions, check_options, predict_track, track_names
from s2hand.prediction.frames import frame_inputs
from s2hand.prediction.summary import TrackSummary
from s2hand.training.checkpoints.reading import LAST
from s2hand.training.checkpoints.writing import check_checkpoints
from s2hand.training.module import S2Hand


def predict_video(
    cfg: DictConfig, module: S2Hand, data: HandDataModule, out: Path
) -> TrackSummary | None:
    """Predict the whole video of ``data`` into ``out``; None where ``data`` are not of a video."""
    make: Any = data.makers["train"]
    if cfg.predict is None or not isinstance(make(), FramesDataset):
        return None
    # The whole video, also where the model was fitted to a part of it.
    return predict_track(module, make(split="all"), out, clip_options(cfg), config_inputs(cfg))


def clip_options(cfg: DictConfig) -> ClipOptions:
    """How to predict the video.

    Raises:
        ValueError: for values that would fail late, naming the choices.
    """
    options: ClipOptions = hydra.utils.instantiate(cfg.predict, _convert_="all")
    check_options(options)
    return options


def check_adapting(cfg: DictConfig) -> None:
    """Raise ValueError if adapting would replace a file of the user."""
    run, inputs = Path(cfg.paths.run), config_inputs(cfg)
    check_checkpoints(run, inputs)
    check_file(run / "adapt.json", inputs, has_keys("residual_px"))
    check_file(run / "checkpoints" / LAST, recognised=lambda _: _is_adaptation(run))


def _is_adaptation(run: Path) -> bool:
    """Whether a folder holds an adaptation, finished or not, and not a training run."""
    began = (run / "metrics.csv").exists() and not (run / "train.json").exists()
    return began or has_keys("residual_px")(run / "adapt.json")


def check_predicting(cfg: DictConfig, out: Path) -> None:
    """Raise ValueError before any work if predicting into ``out`` would replace a user's file.

    Files of single frames (``obj``, ``ply``, ``png``) are checked when their names are known.
    """
    if cfg.predict is not None:
        outputs = Outputs(out, WRITER, config_inputs(cfg))
        outputs.plan(track_names(clip_options(cfg).formats))


def config_inputs(cfg: DictConfig) -> list[Input]:
    """The files that a configuration names: source, detections, checkpoint and the like."""
    named = files_named_in(OmegaConf.to_container(cfg.data, resolve=True))
    source, detections = (OmegaConf.select(cfg, key) for key in ("source", "detections"))
    return [*frame_inputs(source, detections), *named, cfg.checkpoint, cfg.hand_file]
