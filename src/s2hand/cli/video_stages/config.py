"""The configuration of ``s2hand-video``: ``conf/adapt.yaml`` with the command line's options in it.

All of it is known, and refused if it cannot be, before anything is done that takes minutes; what
detection finds is filled in afterwards.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from s2hand.cli.adapt import check_choices, check_trainer, clip_options, prepare
from s2hand.cli.common.composing import composed
from s2hand.cli.common.overrides import check_losses
from s2hand.training.build import load
from s2hand.training.checkpoints.reading import read_checkpoint
from s2hand.training.run import described

_SHOWN = {"npz": "track.npz", "glb": "hand.glb"}
"""Formats that the page is made of."""


def video_config(options: argparse.Namespace, detections: Path) -> DictConfig:
    """The configuration as far as the command line says it.

    Names of files are set, not parsed: they may hold anything.

    Args:
        options: of ``s2hand-video``.
        detections: where the keypoints lie, or will lie.

    Raises:
        ValueError: for settings that do not exist or cannot be.
        CheckpointError, FileNotFoundError: the checkpoint cannot be read.
    """
    check_losses(options.settings)
    cfg = composed("adapt", options.settings)
    cfg.source, cfg.detections = str(options.source), str(detections)
    cfg.side = options.side or "right"
    cfg.horizontal_fov_deg = options.fov
    cfg.checkpoint = None if options.checkpoint == "none" else options.checkpoint
    cfg.out = str(options.out / "adapt")
    if cfg.predict is None:
        raise ValueError("predict=null: s2hand-video shows what it predicts; use s2hand-adapt")
    cfg.predict.smooth_sigma = options.smooth
    if options.fps is not None:  # of a folder; a video has its own
        OmegaConf.update(cfg, "predict.fps", options.fps, force_add=True)
    check_choices(cfg, options.settings)
    formats = clip_options(cfg).formats
    for kind, file in _SHOWN.items():
        if kind not in formats:
            raise ValueError(f"predict.formats={list(formats)}: the page needs {file}; add {kind}")
    if cfg.checkpoint:
        read_checkpoint(cfg.checkpoint)
    return cfg


def rehearse(cfg: DictConfig, adapt: bool) -> None:
    """Build what adaptation, or else prediction, begins with, and drop it.

    A value that is wrong, or a package that is missing, is then said before detection and not
    minutes later. It takes a second or two.

    Raises:
        ValueError: for a setting that the part it was added to does not take; or as these do.
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
    """Say that the pictures of a folder follow each other, and which of them cannot be read."""
    for split in ("train", "test"):
        for key, value in (("sequence", True), ("skip", list(skip))):
            OmegaConf.update(cfg, f"data.{split}.{key}", value, force_add=True)


def adapting(cfg: DictConfig) -> dict[str, Any]:
    """The settings that the adapted checkpoint depends on, by dotted key; no names of files."""
    return _settings(cfg, without=("predict", "data.test", "out"))


def predicting(cfg: DictConfig) -> dict[str, Any]:
    """The settings that the track depends on beside the checkpoint, by dotted key."""
    return _settings(cfg, only=("predict", "data.train"))


def _settings(
    cfg: DictConfig, only: Collection[str] = (), without: Collection[str] = ()
) -> dict[str, Any]:
    cfg = cfg.copy()
    cfg.source = cfg.detections = ""  # their content is what counts, whatever they are called
    cfg.checkpoint = None

    def among(key: str, parts: Collection[str]) -> bool:
        return any(key == part or key.startswith(f"{part}.") for part in parts)

    return {
        key: value for key, value in described(cfg).items()
        if (not only or among(key, only)) and not among(key, without)
    }  # fmt: skip
