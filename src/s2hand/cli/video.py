"""``s2hand-video``: from a video, and nothing else, to a hand one can turn around."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from s2hand.cli.errors import EXPECTED, INTERRUPTED, message, print_error
from s2hand.cli.stages import Stages
from s2hand.pretrained import PRETRAINED

_EPILOG = """\
examples:
  s2hand-video hand.mp4 hand/
  s2hand-video hand.mp4 hand/ --side left
  s2hand-video hand.mp4 hand/ --no-adapt                    seconds, and less exact
  s2hand-video hand.mp4 hand/ trainer.max_steps=1200        any setting of s2hand-adapt
  s2hand-video frames/ hand/ --fps 25                       pictures that follow each other

Four stages: detect (2D keypoints, MediaPipe), adapt (the model is fitted to this video by
self-supervision, no label), predict (track.npz, track.json, hand.glb, hand.bvh, overlay.mp4) and
page (index.html, one file to open or to send; strip.png). The same command goes on with the stage
it was stopped in; one whose files are whole and whose settings have not changed is not done again.

Detection needs `pip install 's2hand[detect]'`, and once `s2hand-detect --get-model`; with
--detections FILE (OpenPose, S2HAND or ours: docs/formats.md) neither is needed.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_intermixed_args(arguments)
    console = Console(soft_wrap=True, highlight=False)
    stages = None
    try:
        _check(options)
        # Torch and all: whoever asks for --help, or named a wrong file, need not wait for it.
        from s2hand.cli.video_job import VideoJob

        stages = Stages(options.out, console)
        VideoJob(options, stages, console).run()
    except (KeyboardInterrupt, SystemExit):  # the trainer turns the first into the second
        return _stopped(stages, "stopped", INTERRUPTED)
    except (*EXPECTED, ImportError) as error:
        return _stopped(stages, message(error), 1)
    return 0


def _stopped(stages: Stages | None, reason: str, code: int) -> int:
    print_error(reason)
    if stages is not None and stages.running:
        Console(stderr=True, soft_wrap=True, highlight=False).print(
            f"This was in the stage {stages.running!r}, which begins again with the same command; "
            f"what was done before it is kept in {escape(str(stages.folder))}."
        )
    return code


def _check(options: argparse.Namespace) -> None:
    """Raise ValueError for what would fail late."""
    for path in (options.source, options.out, options.detections):
        if path is not None and "${" in str(path):
            raise ValueError(f"{path}: a name with '${{' means something else in a configuration; "
                             "rename it")  # fmt: skip
    if not options.source.exists():
        raise FileNotFoundError(f"{options.source}: no such video or folder of pictures")
    if options.out.exists() and not options.out.is_dir():
        raise ValueError(f"{options.out} is a file: give a folder for what comes out")
    if options.source.is_dir() and options.out.resolve() == options.source.resolve():
        raise ValueError(f"{options.out} is the source: give another folder for what comes out")
    if options.no_adapt and options.checkpoint == "none":
        raise ValueError("--no-adapt needs a trained model: leave out --checkpoint none")
    for setting in options.settings:
        if "=" not in setting:
            raise ValueError(f"{setting!r}: settings of s2hand-adapt are written key=value")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="s2hand-video",
        description="From a video to a consistent, textured, animated 3D hand.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", type=Path, help="a video file, or a folder of pictures that follow each other")
    add("out", type=Path, help="folder for everything that comes out")
    add("settings", nargs="*", metavar="key=value", help="settings of s2hand-adapt")
    add("--side", choices=("right", "left"), help="which hand; by default the one seen most")
    add("--track", type=int, metavar="N", help="which of several hands, as s2hand-detect says")
    add("--fov", type=float, default=60.0, help="horizontal field of view, degrees (%(default)s)")
    add("--fps", type=float, default=30.0, help="frames per second of a folder (%(default)s)")
    add("--smooth", type=float, default=1.0, metavar="SIGMA",
        help="Gaussian smoothing over time, in frames (%(default)s; 0: none)")  # fmt: skip
    add("--no-adapt", action="store_true", help="predict with the checkpoint as it is")
    add("--checkpoint", default=PRETRAINED, metavar="FILE",
        help="what to start from (%(default)s); none: new heads, needs 's2hand[offline-weights]'"
        )  # fmt: skip
    add("--detections", type=Path, metavar="FILE", help="2D keypoints made elsewhere")
    add("--model", type=Path, metavar="FILE", help="hand_landmarker.task, if not in its place")
    return parser


if __name__ == "__main__":
    sys.exit(main())
