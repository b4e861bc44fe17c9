"""``s2hand-predict``: hands from pictures or video, as codes, tracks, meshes and overlays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig
from rich.console import Console
from rich.markup import escape

from s2hand.cli.common.app import command, quiet_libraries
from s2hand.files.outputs import Input
from s2hand.prediction import clip, pictures
from s2hand.prediction.frames import choose_device, frame_inputs, is_clip, open_frames
from s2hand.prediction.summary import TrackSummary
from s2hand.training.build import load


@command("predict")
def main(cfg: DictConfig) -> None:
    """Predict, write, and print the place of the files."""
    quiet_libraries()
    console = Console()
    clip.check_whole("every", cfg.every, 1)
    clip.check_whole("batch_size", cfg.batch_size, 1)
    clip.check_whole("refine_steps", cfg.refine_steps, 0)
    if is_clip(Path(cfg.source), cfg.sequence):
        summary = _predict_clip(cfg)
        console.print(summary.table())
        count = summary.frames
    else:
        count = _predict_pictures(cfg)
    console.print(f"{count} frames: [bold]{escape(cfg.out)}[/]", soft_wrap=True, highlight=False)


def _predict_pictures(cfg: DictConfig) -> int:
    """Predict independent pictures; returns how many there are."""
    formats = _formats(cfg, pictures.FORMATS)
    clip.check_formats(formats, pictures.FORMATS, "independent pictures")
    module = load(cfg.checkpoint, hand=cfg.hand_file).to(choose_device(cfg.device))
    dataset = open_frames(clip=False, **_frames(cfg))
    pictures.predict_pictures(
        module, dataset, Path(cfg.out), formats, cfg.batch_size, cfg.refine_steps, _inputs(cfg)
    )
    return len(dataset)


def _predict_clip(cfg: DictConfig) -> TrackSummary:
    """Predict one hand through the frames."""
    options = clip.ClipOptions(
        formats=_formats(cfg, clip.DEFAULT_FORMATS),
        batch_size=cfg.batch_size,
        refine_steps=cfg.refine_steps,
        smooth_sigma=cfg.smooth_sigma,
        fps=cfg.fps,
    )
    clip.check_options(options)
    if cfg.detections is None:
        raise ValueError(f"{cfg.source} is a clip: give detections=FILE, to find the hand in it")
    module = load(cfg.checkpoint, hand=cfg.hand_file).to(choose_device(cfg.device))
    dataset = open_frames(clip=True, **_frames(cfg))
    return clip.predict_track(module, dataset, Path(cfg.out), options, _inputs(cfg))


def _formats(cfg: DictConfig, default: Sequence[str]) -> Sequence[str]:
    if cfg.formats is None:
        return default
    return list(cfg.formats) if isinstance(cfg.formats, ListConfig) else cfg.formats


def _frames(cfg: DictConfig) -> dict[str, Any]:
    """The arguments of :func:`open_frames` that the configuration holds under their names."""
    names = ("detections", "side", "track", "horizontal_fov_deg", "every")
    return {"source": Path(cfg.source), **{name: cfg[name] for name in names}}


def _inputs(cfg: DictConfig) -> list[Input]:
    return [*frame_inputs(None, cfg.detections), cfg.checkpoint, cfg.hand_file]


if __name__ == "__main__":
    main()
