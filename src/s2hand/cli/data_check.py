"""``s2hand-data check``: counts and pictures of the data that training would read."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from s2hand.data.base import HandDataset
from s2hand.data.contact_sheet import write_contact_sheet
from s2hand.data.frames.dataset import BEHIND_DAMAGE, FramesDataset
from s2hand.data.frames.sources import IMAGE_SUFFIXES, Pictures, read_image
from s2hand.data.recorded.formats import FORMATS, FOV_DEG
from s2hand.data.shards.packed import PackedDataset
from s2hand.files.outputs import Input, InputFolder, check_file
from s2hand.files.progress import progress

EXAMPLES = "\n".join(
    f"  s2hand-data check {line}"
    for line in (
        "frames hand.mp4 --detections hand.keypoints.json --contact-sheet sheet.png",
        "frames photos/ --detections openpose_json/ --side left --fov 65",
        *(f"{name} {known.example}" for name, known in FORMATS.items()),
        "packed shards/train",
    )
)
"""Help text: a command for each format."""


def check_frames(options: argparse.Namespace, console: Console) -> int:
    """Check your own pictures or video."""
    _check_sheet(options, [InputFolder(options.source, IMAGE_SUFFIXES), options.detections])
    unreadable = {}
    if options.source.is_dir():
        pictures = Pictures(options.source).files
        unreadable = _unreadable(pictures, lambda i: read_image(pictures[i]))
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


def check_published(options: argparse.Namespace, console: Console) -> int:
    """Check a folder in one of FORMATS: every frame in use, and its image file."""
    chosen = {name: getattr(options, name) for name in options.of_dataset}
    dataset = FORMATS[options.format].make(options.root, options.detections, **chosen)
    files = [dataset.path(i) for i in range(len(dataset))]
    _check_sheet(options, [options.detections, *files])
    unreadable = _unreadable(files, dataset.picture)
    return _report(options, console, dataset, dataset.reasons, files, unreadable)


def check_packed(options: argparse.Namespace, console: Console) -> int:
    """Check a packed set: every shard, and every frame against its checksum."""
    _check_sheet(options, [InputFolder(Path(options.source), {".json", ".tar"})])
    dataset = PackedDataset(options.source)
    dataset.prepare()
    names = [Path(name) for name in dataset.names]
    damaged: dict[Path, str] = {}
    for i, name in progress(enumerate(names), "reading", len(names), "frame"):
        try:
            dataset[i]
        except (ValueError, OSError) as error:
            damaged[name] = str(error)
    return _report(options, console, dataset, {}, names, damaged)


def _check_sheet(options: argparse.Namespace, inputs: Sequence[Input]) -> None:
    if options.contact_sheet:
        check_file(options.contact_sheet, inputs)


def _unreadable(files: Sequence[Path], read: Callable[[int], object]) -> dict[Path, str]:
    """Images that cannot be used, and why; ``read`` reads the image of a number."""
    bad = {}
    for i, file in progress(enumerate(files), "reading images", len(files), "image"):
        try:
            read(i)
        except (ValueError, OSError) as error:
            bad[file] = str(error)
    return bad


def _report(
    options: argparse.Namespace,
    console: Console,
    dataset: HandDataset,
    reasons: dict[str, int],
    files: Sequence[Path],
    unreadable: dict[Path, str],
) -> int:
    """Print the counts and draw the contact sheet; returns the exit code.

    ``files`` are the image files of the frames, if each has one.
    """
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
        write_contact_sheet(options.contact_sheet, dataset, usable)
        console.print(f"contact sheet: {options.contact_sheet}", highlight=False)
    return 1 if unreadable else 0


def add_check(formats: argparse.ArgumentParser) -> None:
    """Add the arguments of ``check``."""
    known = " | ".join(["frames", *FORMATS, "packed"])
    kinds = formats.add_subparsers(required=True, metavar=known)

    frames = kinds.add_parser("frames", help="your pictures (a folder) or a video file")
    frames.add_argument("source", type=Path, help="folder of images, or video file")
    frames.add_argument("--side", choices=("right", "left"), default="right", help="which hand")
    frames.add_argument(
        "--fov", type=float, default=FOV_DEG, help="horizontal field of view, degrees"
    )
    add_track(frames)
    frames.set_defaults(run=check_frames)
    _add_output(frames)

    for name in FORMATS:
        _add_published(kinds.add_parser(name, help=f"{FORMATS[name].title}, as downloaded"), name)

    packed = kinds.add_parser("packed", help="a set that `pack` has written")
    packed.add_argument("source", help="folder or URL that holds index.json")
    packed.set_defaults(run=check_packed)
    _add_output(packed, detections=False)


def add_track(parser: argparse.ArgumentParser) -> None:
    """Add the argument that chooses one of several hands."""
    parser.add_argument(
        "--track", type=int, metavar="N", help="which of several hands, as s2hand-detect lists them"
    )


def _add_published(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("root", type=Path, help=f"folder that holds {FORMATS[name].root}")
    chosen = [parser.add_argument(flag, **how) for flag, how in FORMATS[name].options]
    parser.set_defaults(
        run=check_published, format=name, of_dataset=[option.dest for option in chosen]
    )
    _add_output(parser)


def _add_output(parser: argparse.ArgumentParser, detections: bool = True) -> None:
    if detections:
        parser.add_argument("--detections", type=Path, required=True, help="2D detections")
    parser.add_argument("--contact-sheet", type=Path, metavar="PNG", help="draw 24 crops here")
