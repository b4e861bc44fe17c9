"""``s2hand-data``: look at a dataset before training on it, pack it, convert detections."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from s2hand.cli.data_check import EXAMPLES, add_check, add_track
from s2hand.cli.data_pack import add_pack
from s2hand.data.detections.files import read_detections, write_detections
from s2hand.files.errors import EXPECTED, ended
from s2hand.files.outputs import InputFolder, check_file

_EPILOG = f"""\
examples:
{EXAMPLES}
  s2hand-data pack shards/ data=freihand dataset.root=FreiHAND dataset.detections=det.json
  s2hand-data convert openpose_json/ detections.json --image-size 1920 1080

`check` reads everything that training would read and counts what it would drop, flag or repair.
The exit code is 0 if the data can be used, else 1. Dropped frames are not a failure; unreadable
images, damaged videos, and detections that do not match the images, are. The contact sheet draws
detected keypoints into the crops the network would see: they must be on the hand.

`pack` writes the sets of s2hand-train's `data` as shards, equal in every bit, for s2hand-train
data=packed dataset.train=shards/train dataset.val=shards/val (docs/datasets/packed.md).

Detections are 2D keypoints in pixels of the full image: an OpenPose folder (--write_json), the
published S2HAND form [xy, confidences, names], or our JSON, of one or more hands
(docs/formats.md). --track chooses one of several hands; the default is the first of the side.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    console = Console()
    try:
        return int(options.run(options, console))
    except KeyboardInterrupt as error:
        return ended(error, "; incomplete files are removed")
    except EXPECTED as error:
        return ended(error)


def convert(options: argparse.Namespace, console: Console) -> int:
    """Convert detections of any format to ours."""
    check_file(options.output, [InputFolder(options.detections, {".json"}, recursive=True)])
    found = read_detections(options.detections, options.side, options.track)
    size = tuple(options.image_size) if options.image_size else found.image_size
    write_detections(options.output, replace(found, side=options.side, image_size=size))
    console.print(f"{len(found)} frames written to {options.output}", highlight=False)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="s2hand-data",
        description="Check a dataset before training on it, pack it, or convert 2D detections.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="check | pack | convert")
    formats = commands.add_parser("check", help="count what training would drop, and why")
    add_check(formats)
    add_pack(commands.add_parser("pack", help="write datasets as shards, for disk or object store"))

    converter = commands.add_parser("convert", help="write detections as s2hand.detections/1")
    converter.add_argument("detections", type=Path, help="OpenPose folder or JSON file")
    converter.add_argument("output", type=Path, help="the JSON file to write")
    converter.add_argument("--side", choices=("right", "left"), default="right", help="which hand")
    add_track(converter)
    converter.add_argument(
        "--image-size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="of the images"
    )
    converter.set_defaults(run=convert)
    return parser


if __name__ == "__main__":
    sys.exit(main())
