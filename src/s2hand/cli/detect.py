"""``s2hand-detect``: 2D keypoints of every hand in a video or in pictures."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from s2hand.files.errors import EXPECTED, ended

if TYPE_CHECKING:
    from s2hand.data.recorded.formats import Format

_EPILOG = """\
examples:
  s2hand-detect --get-model                       once: fetches 36 MB, makes hand_landmarker.task
  s2hand-detect hand.mp4                          writes ./hand.mp4.detections.json
  s2hand-detect photos/ -o photos.json
  s2hand-detect frames/ -o frames.json --sequence   pictures that follow each other
  s2hand-detect --dataset ho3d HO3D_v3 --split train -o ho3d.json

--dataset freihand, ho3d, dexycb, stb, rhd, hanco, interhand or youtube finds the annotated hand in
every frame of one or more splits and writes the file that this dataset reads. A stopped run resumes
with the same command. `s2hand-detect --dataset ho3d --help` lists the other options.

Every hand becomes a track. A video's hands are followed over time; single pictures have a first,
second, ... hand of each side. The file (s2hand.detections/2, docs/formats.md) holds all tracks.
Other commands use the first track of the given side, or track=N.

hand_landmarker.task is at --model, at $S2HAND_HAND_LANDMARKER, or else in the cache.

MediaPipe gives no confidence per joint. The confidence here is how well a joint is found again when
the picture is rotated, scaled and mirrored. Only files of detections are replaced.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    try:
        _run(options)
    except KeyboardInterrupt as error:
        kept = "; the same command resumes from here" if options.dataset else ""
        return ended(error, kept or "; nothing was written")
    except EXPECTED as error:
        return ended(error)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options; of a published dataset those of its format."""
    early = argparse.ArgumentParser(add_help=False)
    early.add_argument("--dataset")
    name = early.parse_known_args(arguments)[0].dataset
    if name is None:
        return _parser().parse_args(arguments)
    from s2hand.data.recorded.formats import FORMATS

    if name not in FORMATS:
        _parser().error(f"--dataset {name}: use one of {', '.join(FORMATS)}")
    return _parser(FORMATS[name]).parse_args(arguments)


def _run(options: argparse.Namespace) -> None:
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if options.get_model:
        from s2hand.detect.model import get_model

        console.print(f"hand model: {get_model(options.model, console.print)}")
        if options.source is None:
            return
    if options.source is None:
        raise ValueError("give a video or a folder of pictures, or --get-model")
    if options.dataset:
        return _detect_dataset(options, console)
    # Imported here, because torch takes seconds to load, and --help and Ctrl-C should not wait.
    from s2hand.detect.recordings import detect

    out = options.output or Path(f"{options.source.resolve().name}.detections.json")
    infos = detect(
        options.source, out, model=options.model, hands=options.hands,
        sequence=options.sequence or None,
    )  # fmt: skip
    for info in infos:
        console.print(str(info))
    if len(infos) > 1:
        console.print("commands use the first track of the given side; track=N takes another")
    console.print(f"detections: {out}")


def _detect_dataset(options: argparse.Namespace, console: Console) -> None:
    from s2hand.detect.datasets import detect_dataset

    out = options.output or Path(f"{options.source.resolve().name}.detections.json")
    chosen = {name: getattr(options, name) for name in options.of_dataset}
    splits = chosen.pop("split") or ["train"]
    found, frames = detect_dataset(
        options.dataset, options.source, splits, chosen, out, options.model
    )
    console.print(f"a hand in {found} of {frames} frames")
    console.print(f"detections: {out}")


def _parser(dataset: Format | None = None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="s2hand-detect",
        description="Find 2D keypoints of hands, with a confidence for each joint (MediaPipe).",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", type=Path, nargs="?", help="a video, a picture, or a folder of pictures")
    add("-o", "--output", type=Path, metavar="FILE", help="the JSON file to write")
    add("--model", type=Path, metavar="FILE", help="hand_landmarker.task, if not in the cache")
    add("--dataset", metavar="NAME", help="the folder holds a published dataset, see below")
    add("--get-model", action="store_true", help="make the model file once: pip fetches 36 MB")
    if dataset is None:
        add("--hands", type=int, default=2, help="most hands in one frame (%(default)s)")
        add("--sequence", action="store_true", help="the pictures of the folder follow each other")
        return parser
    options = []
    for flag, how in dataset.options:
        if flag == "--split":
            options.append(add(flag, **how | {"nargs": "+", "action": "extend", "default": None}))
        elif flag != "--labels":  # detection reads none
            options.append(add(flag, **how))
    parser.set_defaults(of_dataset=[option.dest for option in options])
    return parser


if __name__ == "__main__":
    sys.exit(main())
