"""``s2hand-data check``: what training would read, counted, and drawn."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from s2hand.data.base import HandDataset
from s2hand.data.dexycb import DexYcbDataset
from s2hand.data.frames import BEHIND_DAMAGE, FramesDataset
from s2hand.data.freihand import FreiHandDataset
from s2hand.data.hanco import HanCoDataset
from s2hand.data.ho3d import Ho3dDataset
from s2hand.data.interhand import InterHandDataset
from s2hand.data.packed import PackedDataset
from s2hand.data.recorded import RecordedDataset
from s2hand.data.rhd import RhdDataset
from s2hand.data.stb import StbDataset
from s2hand.data.stb_labels import CAMERAS
from s2hand.data.video import Pictures, read_image
from s2hand.data.youtube import YouTubeDataset
from s2hand.export.overlay import draw_detections
from s2hand.files import atomic_path


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


def check_stb(options: argparse.Namespace, console: Console) -> int:
    """A folder in STB's format."""
    dataset = StbDataset(
        options.root,
        options.detections,
        split=options.split,
        cameras=options.cameras,
        labels=options.labels,
    )
    return _report_files(options, console, dataset)


def check_rhd(options: argparse.Namespace, console: Console) -> int:
    """A folder in RHD's format."""
    dataset = RhdDataset(
        options.root,
        options.detections,
        split=options.split,
        hands=options.hands,
        labels=options.labels,
    )
    return _report_files(options, console, dataset)


def check_hanco(options: argparse.Namespace, console: Console) -> int:
    """A folder in HanCo's format."""
    dataset = HanCoDataset(
        options.root,
        options.detections,
        split=options.split,
        cameras=options.cameras,
        labels=options.labels,
    )
    return _report_files(options, console, dataset)


def check_interhand(options: argparse.Namespace, console: Console) -> int:
    """A folder in InterHand2.6M's format."""
    dataset = InterHandDataset(
        options.root, options.detections, split=options.split, labels=options.labels
    )
    return _report_files(options, console, dataset)


def check_youtube(options: argparse.Namespace, console: Console) -> int:
    """A folder in YouTube-3D-Hands' format."""
    dataset = YouTubeDataset(
        options.root, options.detections, split=options.split, horizontal_fov_deg=options.fov
    )
    return _report_files(options, console, dataset)


def check_packed(options: argparse.Namespace, console: Console) -> int:
    """A packed set: every shard, and every frame against its checksum."""
    dataset = PackedDataset(options.source)
    dataset.prepare()
    names = [Path(name) for name in dataset.names]
    damaged: dict[Path, str] = {}
    progress = Console(stderr=True)
    for i, name in track(list(enumerate(names)), "reading", console=progress, transient=True):
        try:
            dataset[i]
        except (ValueError, OSError) as error:
            damaged[name] = str(error)
    return _report(options, console, dataset, {}, names, damaged)


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


def add_check(formats: argparse.ArgumentParser) -> None:
    """The arguments of ``check``."""
    kinds = formats.add_subparsers(
        required=True,
        metavar="frames | freihand | ho3d | dexycb | stb | rhd | hanco | interhand | youtube | "
        "packed",
    )

    frames = kinds.add_parser("frames", help="own pictures (a folder) or a video file")
    frames.add_argument("source", type=Path, help="folder of images, or video file")
    frames.add_argument("--side", choices=("right", "left"), default="right", help="which hand")
    frames.add_argument("--fov", type=float, default=60.0, help="horizontal field of view, degrees")
    add_track(frames)
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

    stb = kinds.add_parser("stb", help="STB, as downloaded")
    stb.add_argument("root", type=Path, help="folder that holds images/ and labels/")
    stb.add_argument("--split", choices=("train", "test"), default="train")
    stb.add_argument("--cameras", nargs="+", choices=tuple(CAMERAS), default=["SK_color"])
    stb.add_argument("--labels", action="store_true", help="check the 3D labels too")
    stb.set_defaults(run=check_stb)

    rhd = kinds.add_parser("rhd", help="RHD, as downloaded")
    rhd.add_argument("root", type=Path, help="folder that holds training/ and evaluation/")
    rhd.add_argument("--split", choices=("train", "evaluation"), default="train")
    rhd.add_argument("--hands", choices=("each", "dominant"), default="each", help="of a picture")
    rhd.add_argument("--labels", action="store_true", help="check the 3D labels too")
    rhd.set_defaults(run=check_rhd)

    hanco = kinds.add_parser("hanco", help="HanCo, as downloaded")
    hanco.add_argument("root", type=Path, help="folder that holds rgb/, calib/ and meta.json")
    hanco.add_argument("--split", choices=("train", "test"), default="train")
    hanco.add_argument("--cameras", nargs="+", type=int, default=[*range(8)], help="of 0..7")
    hanco.add_argument("--labels", action="store_true", help="check the 3D labels too")
    hanco.set_defaults(run=check_hanco)

    interhand = kinds.add_parser("interhand", help="InterHand2.6M's single hands, as downloaded")
    interhand.add_argument("root", type=Path, help="folder that holds annotations/ and images/")
    interhand.add_argument("--split", choices=("train", "val", "test"), default="train")
    interhand.add_argument("--labels", action="store_true", help="check the 3D labels too")
    interhand.set_defaults(run=check_interhand)

    youtube = kinds.add_parser("youtube", help="YouTube-3D-Hands, as downloaded")
    youtube.add_argument("root", type=Path, help="folder that holds youtube_train.json")
    youtube.add_argument("--split", choices=("train", "val", "test"), default="train")
    youtube.add_argument("--fov", type=float, default=60.0, help="assumed, horizontal, degrees")
    youtube.set_defaults(run=check_youtube)

    packed = kinds.add_parser("packed", help="a set that `pack` has written")
    packed.add_argument("source", help="folder or URL that holds index.json")
    packed.set_defaults(run=check_packed)

    downloaded = (freihand, ho3d, dexycb, stb, rhd, hanco, interhand, youtube)
    for kind in (frames, *downloaded):
        kind.add_argument("--detections", type=Path, required=True, help="2D detections")
    for kind in (frames, *downloaded, packed):
        kind.add_argument("--contact-sheet", type=Path, metavar="PNG", help="draw 24 crops here")


def add_track(parser: argparse.ArgumentParser) -> None:
    """Which of several hands."""
    parser.add_argument(
        "--track", type=int, metavar="N", help="which of several hands, as s2hand-detect says"
    )
