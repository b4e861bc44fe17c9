"""Seconds to open datasets of published size: ``PYTHONPATH=tests python benchmarks/index.py``.

Each tree has the number of files that is published, or about a hundred thousand, and is made from
a small fixture by hard links: it needs inodes for its folders only, and at most 1 GB of disk at a
time, for annotations and detections (one JSON file). It is opened twice, each time in a new
process: without this package's caches, and with them. All files are in the page cache, so this
measures the package, not a disk.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table
from scipy.io import loadmat, savemat

from fixtures.datasets import FORMATS
from fixtures.dexycb import UNLABELLED
from fixtures.mano_pickles import python2_pickle
from s2hand.data.base import HandDataset
from s2hand.data.detections.base import Detections
from s2hand.data.detections.files import write_detections
from s2hand.data.recorded.dexycb import SERIALS, DexYcbDataset
from s2hand.data.recorded.freihand import FreiHandDataset
from s2hand.data.recorded.hanco import HanCoDataset
from s2hand.data.recorded.ho3d import Ho3dDataset
from s2hand.data.recorded.interhand import InterHandDataset
from s2hand.data.recorded.rhd import RhdDataset
from s2hand.data.recorded.stb import StbDataset
from s2hand.data.recorded.youtube import YouTubeDataset
from s2hand.files.cores import cores
from s2hand.files.json import write_json
from s2hand.files.pickles import NUMPY, Array, read_pickle, to_array
from s2hand.training.build import git_revision

DETECTIONS = "detections.json"


@dataclass(frozen=True)
class Case:
    """One dataset: its enlarged tree, the number of files, and how it is opened."""

    count: int
    counted: str
    enlarge: Callable[[Path, Path, int], tuple[Sequence[str], int]]
    """Writes ``count`` of them; from (small tree, root, count) to names and side of an image."""
    open: Callable[[Path, Path], HandDataset]


def link(sources: Sequence[Path], targets: Sequence[Path]) -> None:
    """Hard links, the sources in turn; links of one file are limited, to 65,000 on ext4."""
    for folder in {target.parent for target in targets}:
        folder.mkdir(parents=True, exist_ok=True)
    for source, target in zip(cycle(sources), targets):
        os.link(source, target)


def freihand(small: Path, root: Path, count: int) -> tuple[Sequence[str], int]:
    """``count`` annotations, each the camera of four images."""
    names = [f"{number:08d}" for number in range(4 * count)]
    images = sorted((small / "training" / "rgb").iterdir())
    link(images, [root / "training" / "rgb" / f"{name}.jpg" for name in names])
    K = json.loads((small / "training_K.json").read_text())
    write_json(root / "training_K.json", [K[row % len(K)] for row in range(count)], indent=None)
    return names, 224


def ho3d(small: Path, root: Path, count: int) -> tuple[Sequence[str], int]:
    """Sequences of a thousand frames, with a file of labels each."""
    names = [f"SEQ{row // 1000:03d}/{row % 1000:04d}" for row in range(count)]
    folder = small / "train" / "ABF10"
    for kind in ("meta", "rgb"):
        files = sorted((folder / kind).iterdir())
        places = [root / "train" / name.replace("/", f"/{kind}/") for name in names]
        link(files, [place.with_suffix(files[0].suffix) for place in places])
    (root / "train.txt").write_text("\n".join(names))
    return names, 480


def dexycb(small: Path, root: Path, count: int) -> tuple[Sequence[str], int]:
    """Ten subjects, twenty sequences each before eight cameras; a file of labels each frame."""
    length = max(count // 1600, 1)
    view = next(small.glob("*-subject-01/*_140054/836212060125"))
    calibration = root / "calibration" / "intrinsics"
    (K,) = (small / "calibration" / "intrinsics").glob("836212060125*")
    link([K], [calibration / f"{serial}_640x480.yml" for serial in SERIALS])
    meta = yaml.safe_dump({"serials": [*SERIALS], "num_frames": length, "mano_sides": ["right"]})
    folders = [
        root / f"20200709-subject-{subject:02d}" / f"20200709_14{sequence:02d}00"
        for subject in range(1, 11)
        for sequence in range(20)
    ]
    images = [
        folder / serial / f"color_{number:06d}.jpg"
        for folder in folders
        for serial in SERIALS
        for number in range(length)
    ]
    link(sorted(view.glob("color*")), images)
    labels = [image.with_name(image.name.replace("color", "labels")) for image in images]
    labelled = [path for path in sorted(view.glob("labels*")) if str(UNLABELLED) not in path.stem]
    link(labelled, [path.with_suffix(".npz") for path in labels])
    for folder in folders:
        (folder / "meta.yml").write_text(meta)
    return [image.relative_to(root).with_suffix("").as_posix() for image in images], 480


def stb(small: Path, root: Path, count: int) -> tuple[Sequence[str], int]:
    """Twelve sequences of one camera; those of B1 are the test split."""
    length = max(count // 12, 1)
    sequences = [f"B{b}{kind}" for b in range(1, 7) for kind in ("Counting", "Random")]
    names = [f"{s}/SK_color_{number}" for s in sequences for number in range(length)]
    images = sorted((small / "images" / "B1Counting").glob("SK_color*"))
    link(images, [root / "images" / f"{name}.png" for name in names])
    points = loadmat(small / "labels" / "B1Counting_SK.mat")["handPara"]
    (root / "labels").mkdir()
    for sequence in sequences:
        content = {"handPara": points[..., np.arange(length) % points.shape[-1]]}
        savemat(root / "labels" / f"{sequence}_SK.mat", content, do_compression=True)
    return names, 480


def rhd(small: Path, root: Path, count: int) -> tuple[Sequence[str], int]:
    """Pictures of two hands."""
    folder = small / "training"
    entry = read_pickle(folder / "anno_training.pickle", NUMPY, 2**29, "RHD's")[0]
    entry = {key: to_array(value) for key, value in entry.items() if isinstance(value, Array)}
    names = [f"{number:05d}" for number in range(count)]
    link([folder / "color" / "00000.png"], [root / "training/color" / f"{n}.png" for n in names])
    content = python2_pickle(dict.fromkeys(range(count), entry))
    (root / "training" / "anno_training.pickle").write_bytes(content)
    return [f"{name}/{side}" for name in names for side in ("left", "right")], 320


def hanco(small: Path, root: Path, count: int) -> tuple[Sequence[str], int]:
    """Sequences of a hundred moments before two cameras, with two files of labels each."""
    moments = [f"{row // 100:04d}/{row % 100:08d}" for row in range(count)]
    for kind in ("calib", "xyz"):
        files = sorted((small / kind / "0000").iterdir())
        link(files, [root / kind / f"{moment}.json" for moment in moments])
    names = [moment.replace("/", f"/cam{camera}/") for moment in moments for camera in (0, 3)]
    images = sorted((small / "rgb" / "0000" / "cam0").iterdir())
    link(images, [root / "rgb" / f"{name}.jpg" for name in names])
    whole = [[True] * 100 for _ in range(-(-count // 100))]
    write_json(root / "meta.json", {"is_train": whole, "is_valid": whole}, indent=None)
    return names, 224


def interhand(small: Path, root: Path, count: int) -> tuple[Sequence[str], int]:
    """Sequences of two hundred frames of a right hand before two cameras."""
    folder = Path("annotations", "train")
    kinds = ("data", "camera", "joint_3d")
    files = [folder / f"InterHand2.6M_train_{kind}.json" for kind in kinds]
    data, cameras, joints = (json.loads((small / file).read_text()) for file in files)
    world = next(iter(joints["0"].values()))
    image = next(i for i in data["images"] if i["seq_name"] == "ROM01_right")
    valid = [1] * 21 + [0] * 21
    images, annotations, paths = [], [], []
    for row in range(count):
        frame, camera = 18 * (row // 2), ("400262", "400263")[row % 2]
        name = f"Capture0/ROM{row // 400:03d}/cam{camera}/image{frame}.jpg"
        entry = {"id": row, "file_name": name, "camera": camera, "frame_idx": frame}
        images.append(image | entry)
        annotations.append({"image_id": row, "hand_type": "right", "joint_valid": valid})
        paths.append(root / "images" / "train" / name)
    frames = {str(18 * row): world for row in range(-(-count // 2))}
    contents: tuple[Any, ...] = (
        {"images": images, "annotations": annotations}, cameras, {"0": frames}
    )  # fmt: skip
    for file, content in zip(files, contents, strict=True):
        write_json(root / file, content, indent=None)
    link(sorted((small / "images").rglob("*.jpg")), paths)
    return [entry["file_name"].removesuffix(".jpg") for entry in images], 480


def youtube(small: Path, root: Path, count: int) -> tuple[Sequence[str], int]:
    """Pictures of one right hand, with its mesh."""
    content = json.loads((small / "youtube_train.json").read_text())
    image, hand = content["images"][0], content["annotations"][0]
    hand["vertices"] = np.round(hand["vertices"], 2).tolist()
    names = [f"youtube/v{row // 1000}/frames/{row}" for row in range(count)]
    images = [image | {"name": f"{name}.png", "id": row} for row, name in enumerate(names)]
    annotations = [hand | {"image_id": row, "is_left": 0} for row in range(count)]
    write_json(
        root / "youtube_train.json", {"images": images, "annotations": annotations}, indent=None
    )
    link([small / image["name"]], [root / f"{name}.png" for name in names])
    return [f"{name}/right" for name in names], 480


CASES = {
    "freihand": Case(
        32_560, "annotations", freihand,
        lambda root, found: FreiHandDataset(root, found, variants=range(4)),
    ),
    "ho3d": Case(66_034, "label files", ho3d, lambda r, d: Ho3dDataset(r, d, labels=True)),
    "dexycb": Case(
        100_800, "label files, a quarter of all", dexycb,
        lambda root, found: DexYcbDataset(root, found, setup="s1", labels=True),
    ),
    "stb": Case(18_000, "labels", stb, lambda r, d: StbDataset(r, d, labels=True)),
    "rhd": Case(41_258, "pictures", rhd, lambda r, d: RhdDataset(r, d, labels=True)),
    "hanco": Case(
        50_000, "moments, about half", hanco,
        lambda root, found: HanCoDataset(root, found, cameras=(0, 3), labels=True),
    ),
    "interhand": Case(
        100_000, "annotations, a part", interhand,
        lambda root, found: InterHandDataset(root, found, labels=True),
    ),
    "youtube": Case(47_125, "pictures", youtube, YouTubeDataset),
}  # fmt: skip


def write_tree(name: str, folder: Path, scale: float) -> None:
    """The large tree of a dataset, with detections of a hand in the middle of each image."""
    FORMATS[name].write(folder / "small")
    root = folder / "large"
    root.mkdir()
    names, side = CASES[name].enlarge(folder / "small", root, round(CASES[name].count * scale))
    circle = np.exp(2j * np.pi * np.arange(21) / 21)
    ring = side / 2 + side / 4 * np.stack([circle.real, circle.imag], -1)
    keypoints = ring + np.random.default_rng(0).normal(0, 2, (len(names), 21, 2))
    confidence = np.full((len(names), 21), 0.9)
    write_detections(folder / DETECTIONS, Detections(tuple(names), keypoints, confidence))


def open_tree(name: str, folder: Path) -> dict[str, float]:
    """Open a tree in this process: frames, CPU seconds and peak memory in MB.

    On a quiet machine elapsed seconds are the same, since all files are in the page cache.
    """
    before = memory_mb("VmRSS")
    start = time.process_time()
    dataset = CASES[name].open(folder / "large", folder / DETECTIONS)
    elapsed = time.process_time() - start
    return {"frames": len(dataset), "seconds": elapsed, "peak_mb": memory_mb("VmHWM") - before}


def memory_mb(field: str) -> float:
    """``VmRSS``, the process's current memory, or ``VmHWM``, its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def opened(name: str, folder: Path) -> Iterator[dict[str, float]]:
    """Open a tree twice, each time in a new process."""
    environment = os.environ | {"S2HAND_CACHE": str(folder / "cache")}
    for _ in range(2):
        command = [sys.executable, __file__, "--open", str(folder), name]
        done = subprocess.run(
            command, env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
        yield json.loads(done.stdout)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*CASES, []], help="default: every dataset")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the sizes")
    parser.add_argument("--folder", help="folder for the temporary trees; default: /tmp")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.names or list(CASES)
    if options.open:
        sys.stdout.write(json.dumps(open_tree(names[0], options.open)))
        return
    table = Table("dataset", "size", "frames", "cold, s", "cached, s", "MB, cold / cached")
    for name in names:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            write_tree(name, Path(folder), options.scale)
            cold, cached = opened(name, Path(folder))
        size = f"{round(CASES[name].count * options.scale):,} {CASES[name].counted}"
        times = [f"{run['seconds']:.1f}" for run in (cold, cached)]
        memory = " / ".join(f"{run['peak_mb']:.0f}" for run in (cold, cached))
        table.add_row(name, size, f"{cold['frames']:,}", *times, memory)
    console = Console(width=120)
    console.print(table)
    console.print(f"{git_revision()}, {cores()} cores of {platform.machine()}")


if __name__ == "__main__":
    main()
