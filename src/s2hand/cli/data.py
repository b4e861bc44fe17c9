"""``s2hand-data``: look at a dataset before training on it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from s2hand.cli.errors import print_error
from s2hand.data.base import HandDataset
from s2hand.data.detection_files import read_detections, write_detections
from s2hand.data.dexycb import DexYcbDataset
from s2hand.data.frames import BEHIND_DAMAGE, FramesDataset
from s2hand.data.freihand import FreiHandDataset
from s2hand.data.ho3d import Ho3dDataset
from s2hand.data.recorded import RecordedDataset
from s2hand.data.video import Pictures, read_image
from s2hand.export.overlay import draw_detections
from s2hand.files import atomic_path

_EPILOG = """\
examples:
  s2hand-data check frames hand.mp4 --detections hand.keypoints.json --contact-sheet sheet.png
  s2hand-data check frames photos/ --detections openpose_json/ --side left --fov 65
  s2hand-data check freihand FreiHAND_pub_v2 --detections freihand-train.json --variants 0
  s2hand-data check ho3d HO3D_v3 --detections ho3d-train.json --labels
  s2hand-data check dexycb DexYCB --detections openpose_json/ --setup s0 --split test
  s2hand-data convert openpose_json/ detections.json --image-size 1920 1080

`check` reads everything that training would read and counts what it would drop, flag or repair.
It ends with 0 if the data can be used, with 1 if not. Dropped frames are no failure; unreadable
images, damaged videos, and detections that do not match the images, are. The contact sheet draws
detected keypoints into the crops the network would see: they must sit on the hand.

Detections are 2D keypoints in pixels of the full image: an OpenPose folder (--write_json), the
published S2HAND form [xy, confidences, names], or our own JSON, of one hand or of several
(docs/formats.md). Of several hands --track takes one; without it, the first of the side.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    console = Console()
    try:
        return int(options.run(options, console))
    except (ValueError, OSError) as error:
        print_error(str(error))
        return 1


def check_frames(options: argparse.Namespace, console: Console) -> int:
    """Own pictures or video."""
    unreadable = {}
    if options.source.is_dir():
        unreadable = _unreadable(Pictures(options.source).files)
    dataset = FramesDataset(
        options.source,
        options.detections,
        side=options.side,
        track=options.track,
        horizontal_fov_deg=options.fov,
        skip=[file.name for file in unreadable],
    )
    dataset.prepare()
    code = _report(options, console, dataset, dataset.reasons, [], unreadable)
    return 1 if dataset.reasons.get(BEHIND_DAMAGE) else code


def check_freihand(options: argparse.Namespace, console: Console) -> int:
    """A folder in FreiHAND's format."""
    dataset = FreiHandDataset(
        options.root,
        options.detections,
        split=options.split,
        variants=options.variants,
        labels=options.labels,
    )
    return _report_files(options, console, dataset)


def check_ho3d(options: argparse.Namespace, console: Console) -> int:
    """A folder in HO-3D's format."""
    dataset = Ho3dDataset(
        options.root, options.detections, split=options.split, labels=options.labels
    )
    return _report_files(options, console, dataset)


def check_dexycb(options: argparse.Namespace, console: Console) -> int:
    """A folder in DexYCB's format."""
    dataset = DexYcbDataset(
        options.root,
        options.detections,
        setup=options.setup,
        split=options.split,
        labels=options.labels,
    )
    return _report_files(options, console, dataset)


def convert(options: argparse.Namespace, console: Console) -> int:
    """Any detection format to ours."""
    found = read_detections(options.detections, options.side, options.track)
    size = tuple(options.image_size) if options.image_size else found.image_size
    write_detections(options.output, replace(found, side=options.side, image_size=size))
    console.print(f"{len(found)} frames written to {options.output}", highlight=False)
    return 0


def contact_sheet(dataset: HandDataset, indices: Sequence[int], columns: int = 6) -> Image.Image:
    """Crops with their detected keypoints, row by row."""
    cells = []
    for index in indices:
        sample = dataset[index]
        size = sample.camera.crop_px
        pixels = (sample.image[0].permute(1, 2, 0) * 255).round().byte().numpy()
        picture = np.asarray(Image.fromarray(pixels).resize((size, size)))
        keypoints, confidence = sample.keypoints[0].numpy(), sample.confidence[0].numpy()
        cells.append(draw_detections(picture, keypoints, confidence))
    side = len(cells[0])
    sheet = Image.new("RGB", (columns * side, -(-len(cells) // columns) * side))
    for i, cell in enumerate(cells):
        sheet.paste(Image.fromarray(cell), (i % columns * side, i // columns * side))
    return sheet


def _unreadable(files: Sequence[Path]) -> dict[Path, str]:
    """Images that cannot be decoded, and why."""
    bad = {}
    for file in track(files, "reading images", console=Console(stderr=True), transient=True):
        try:
            read_image(file)
        except (ValueError, OSError) as error:
            bad[file] = str(error)
    return bad


def _report_files(
    options: argparse.Namespace, console: Console, dataset: FreiHandDataset | RecordedDataset
) -> int:
    """Read every image of the dataset, and report."""
    files = [dataset.path(i) for i in range(len(dataset))]
    return _report(options, console, dataset, dataset.reasons, files, _unreadable(files))


def _report(
    options: argparse.Namespace,
    console: Console,
    dataset: HandDataset,
    reasons: dict[str, int],
    files: Sequence[Path],
    unreadable: dict[Path, str],
) -> int:
    """Print the counts, draw the contact sheet; the exit code. ``files`` are the frames' own."""
    table = Table("frames", "count")
    table.columns[1].justify = "right"
    table.add_row("usable", str(len(dataset)))
    for reason, count in {**reasons, "unreadable": len(unreadable)}.items():
        table.add_row(reason, str(count), style=None if count else "dim")
    console.print(table)
    for problem in list(unreadable.values())[:10]:
        console.print(f"[red]{escape(problem)}[/]", highlight=False, soft_wrap=True)
    if options.contact_sheet:
        usable = [i for i in range(len(dataset)) if not files or files[i] not in unreadable]
        chosen = np.unique(np.linspace(0, len(usable) - 1, 24).astype(int))
        sheet = contact_sheet(dataset, [usable[i] for i in chosen])
        with atomic_path(options.contact_sheet) as temporary:
            sheet.save(temporary)
        console.print(f"contact sheet: {options.contact_sheet}", highlight=False)
    return 1 if unreadable else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="s2hand-data",
        description="Check a dataset before training on it, or convert 2D detections.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="check | convert")
    formats = commands.add_parser("check", help="count what training would drop, and why")
    kinds = formats.add_subparsers(required=True, metavar="frames | freihand | ho3d | dexycb")

    frames = kinds.add_parser("frames", help="own pictures (a folder) or a video file")
    frames.add_argument("source", type=Path, help="folder of images, or video file")
    frames.add_argument("--side", choices=("right", "left"), default="right", help="which hand")
    frames.add_argument("--fov", type=float, default=60.0, help="horizontal field of view, degrees")
    _add_track(frames)
    frames.set_defaults(run=check_frames)

    freihand = kinds.add_parser("freihand", help="FreiHAND v2, as downloaded")
    freihand.add_argument("root", type=Path, help="folder that holds training/ and evaluation/")
    freihand.add_argument("--split", choices=("train", "evaluation"), default="train")
    freihand.add_argument("--variants", type=int, nargs="+", default=[0], help="backgrounds 0..3")
    freihand.add_argument("--labels", action="store_true", help="check the 3D label files too")
    freihand.set_defaults(run=check_freihand)

    ho3d = kinds.add_parser("ho3d", help="HO-3D v2 or v3, as downloaded")
    ho3d.add_argument("root", type=Path, help="folder that holds train/, evaluation/ and the lists")
    ho3d.add_argument("--split", choices=("train", "evaluation"), default="train")
    ho3d.add_argument("--labels", action="store_true", help="check the 3D labels too")
    ho3d.set_defaults(run=check_ho3d)

    dexycb = kinds.add_parser("dexycb", help="DexYCB, as downloaded")
    dexycb.add_argument("root", type=Path, help="folder that holds the subjects and calibration/")
    dexycb.add_argument("--setup", choices=("s0", "s1", "s2", "s3"), default="s0")
    dexycb.add_argument("--split", choices=("train", "val", "test"), default="train")
    dexycb.add_argument("--labels", action="store_true", help="check the 3D labels too")
    dexycb.set_defaults(run=check_dexycb)

    for kind in (frames, freihand, ho3d, dexycb):
        kind.add_argument("--detections", type=Path, required=True, help="2D detections")
        kind.add_argument("--contact-sheet", type=Path, metavar="PNG", help="draw 24 crops here")

    converter = commands.add_parser("convert", help="write detections as s2hand.detections/1")
    converter.add_argument("detections", type=Path, help="OpenPose folder or JSON file")
    converter.add_argument("output", type=Path, help="the JSON file to write")
    converter.add_argument("--side", choices=("right", "left"), default="right", help="which hand")
    _add_track(converter)
    converter.add_argument(
        "--image-size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="of the images"
    )
    converter.set_defaults(run=convert)
    return parser


def _add_track(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--track", type=int, metavar="N", help="which of several hands, as s2hand-detect says"
    )


if __name__ == "__main__":
    sys.exit(main())
