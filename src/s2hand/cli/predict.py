"""``s2hand-predict``: hands from pictures or video, as codes, tracks, meshes and overlays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, ListConfig
from rich.console import Console
from rich.markup import escape

from s2hand.cli.common.app import command, quiet_libraries
from s2hand.data.detections.base import Detections
from s2hand.data.frames.dataset import FramesDataset
from s2hand.data.frames.sources import IMAGE_SUFFIXES, Pictures, open_source
from s2hand.prediction import clip, pictures
from s2hand.prediction.summary import TrackSummary
from s2hand.training.build import load


def whole_pictures(source: Path) -> Detections:
    """No detections: every picture of a folder is taken as it is, as a crop of a hand."""
    found = open_source(source)
    if not isinstance(found, Pictures):
        raise ValueError(
            f"{source} is a video: without detections the hand cannot be found in it; give "
            "detections=FILE"
        )
    names = tuple(path.name for path in found.files)
    return Detections(names, np.zeros((len(names), 21, 2)), np.zeros((len(names), 21)))


def choose_device(name: str) -> torch.device:
    """``auto`` is a GPU where torch has one; any other name is torch's own.

    Raises:
        ValueError: for a device that is not here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise ValueError(f"device={name}: use auto, cpu or cuda ({error})") from error
    return device


def is_clip(cfg: DictConfig) -> bool:
    """Whether the frames follow each other: as ``sequence`` says, or else if it is a video."""
    if cfg.sequence is not None:
        return bool(cfg.sequence)
    source = Path(cfg.source)
    return source.is_file() and source.suffix.lower() not in IMAGE_SUFFIXES


def chosen_formats(cfg: DictConfig, default: Sequence[str]) -> Sequence[str]:
    """The ``formats`` of the command line, or all that go without saying."""
    if cfg.formats is None:
        return default
    return list(cfg.formats) if isinstance(cfg.formats, ListConfig) else cfg.formats


def check_settings(cfg: DictConfig, formats: Sequence[str]) -> None:
    """Raise ValueError for values that no part would refuse in time."""
    clip.check_whole("every", cfg.every, 1)
    clip.check_whole("batch_size", cfg.batch_size, 1)
    clip.check_whole("refine_steps", cfg.refine_steps, 0)
    if "png" in formats and Path(cfg.out).resolve() == Path(cfg.source).resolve():
        raise ValueError(f"out={cfg.out} is the source: overlays would replace your pictures")


def make_dataset(cfg: DictConfig, clip: bool) -> FramesDataset:
    """The frames to predict, cropped around their detections; of a clip those with a hand."""
    source = Path(cfg.source)
    return FramesDataset(
        source, cfg.detections or whole_pictures(source), side=cfg.side, track=cfg.track,
        keep_all=not clip, horizontal_fov_deg=cfg.horizontal_fov_deg, every=cfg.every,
        sequence=clip or None,
    )  # fmt: skip


def predict_pictures(cfg: DictConfig) -> int:
    """Every picture for itself; returns how many there are."""
    formats = chosen_formats(cfg, pictures.FORMATS)
    clip.check_formats(formats, pictures.FORMATS, "pictures that stand for themselves")
    check_settings(cfg, formats)
    module = load(cfg.checkpoint, hand=cfg.hand_file).to(choose_device(cfg.device))
    dataset = make_dataset(cfg, clip=False)
    dataset.prepare()
    out = Path(cfg.out)
    pictures.predict_pictures(module, dataset, out, formats, cfg.batch_size, cfg.refine_steps)
    return len(dataset)


def predict_clip(cfg: DictConfig) -> TrackSummary:
    """One hand through the frames."""
    options = clip.ClipOptions(
        formats=chosen_formats(cfg, clip.DEFAULT_FORMATS),
        batch_size=cfg.batch_size,
        refine_steps=cfg.refine_steps,
        smooth_sigma=cfg.smooth_sigma,
        fps=cfg.fps,
    )
    clip.check_options(options)
    check_settings(cfg, options.formats)
    if cfg.detections is None:
        raise ValueError(f"{cfg.source} is a clip: give detections=FILE, to find the hand in it")
    module = load(cfg.checkpoint, hand=cfg.hand_file).to(choose_device(cfg.device))
    dataset = make_dataset(cfg, clip=True)
    return clip.predict_track(module, dataset, Path(cfg.out), options)


@command("predict")
def main(cfg: DictConfig) -> None:
    """Predict, write, say where the files are."""
    quiet_libraries()
    console = Console()
    if is_clip(cfg):
        summary = predict_clip(cfg)
        console.print(summary.table())
        count = summary.frames
    else:
        count = predict_pictures(cfg)
    console.print(f"{count} frames: [bold]{escape(cfg.out)}[/]", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()
