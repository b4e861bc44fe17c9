"""Frames per second from files and from shards: ``python benchmarks/data_loading.py``.

Rendered hands at 224 px are written in three forms that represent the kinds of datasets: JPEG
images of the crop (FreiHAND), whole JPEG frames of 640 x 480 that are cropped at each access
(HO-3D, DexYCB), and the mapped array that rendered sets and own videos are cached in. Each is
packed with PNG and with raw pixels. All are read through a ``DataLoader`` in the same shuffled
order, in turns, so that other work on the machine affects all equally; each number is the best of
several rounds, and without workers it is CPU time. All files are in the page cache, so this
measures decoding, not a disk or a network.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from s2hand.data.base import HandDataset
from s2hand.data.detections.base import Detections
from s2hand.data.recorded.base import RecordedDataset
from s2hand.data.recorded.frame_table import FrameTable
from s2hand.data.recorded.freihand import FreiHandDataset
from s2hand.data.shards.packed import PackedDataset
from s2hand.data.shards.packing import pack
from s2hand.data.synthetic.images import SyntheticHands
from s2hand.files.cores import cores
from s2hand.hand.mano import ManoHead
from s2hand.render.scene import HandRenderer
from s2hand.training.build import git_revision
from s2hand.types import HandBatch

SIDE, FRAME = 224, (640, 480)
BATCH = 32


def rendered(folder: Path, count: int) -> HandDataset:
    """Rendered hands, cached as an array."""
    renderer = HandRenderer(SIDE, backend="cpu")
    return SyntheticHands(ManoHead("open"), renderer, size=count, image_px=SIDE, cache=folder)


def pictures(source: HandDataset) -> list[Image.Image]:
    """The images of a dataset."""
    images = [(source[i].image[0] * 255).round().byte() for i in range(len(source))]
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]


def freihand(folder: Path, source: HandDataset) -> HandDataset:
    """The same hands in FreiHAND's format."""
    rgb = folder / "training" / "rgb"
    rgb.mkdir(parents=True)
    names = [f"{i:08d}" for i in range(len(source))]
    for name, picture in zip(names, pictures(source), strict=True):
        picture.save(rgb / f"{name}.jpg", quality=95)
    K = [source[i].camera.intrinsics[0].tolist() for i in range(len(source))]
    (folder / "training_K.json").write_text(json.dumps(K))
    keypoints = np.stack([source[i].keypoints[0].double().numpy() for i in range(len(source))])
    found = Detections(tuple(names), keypoints, np.ones(keypoints.shape[:2]))
    return FreiHandDataset(folder, found)


def recorded(folder: Path, source: HandDataset) -> HandDataset:
    """The same hands filling whole frames, to be cropped."""
    folder.mkdir()
    files = [folder / f"{i:06d}.jpg" for i in range(len(source))]
    for file, picture in zip(files, pictures(source), strict=True):
        picture.resize(FRAME).save(file, quality=95)
    names = [f"one/{file.stem}" for file in files]
    circle = 80 * np.exp(2j * np.pi * np.arange(21) / 21)
    keypoints = np.stack([FRAME[0] / 2 + circle.real, FRAME[1] / 2 + circle.imag], -1)
    found = Detections(
        tuple(names), np.tile(keypoints, (len(names), 1, 1)), np.ones((len(names), 21))
    )
    K = np.array([[600.0, 0, FRAME[0] / 2], [0, 600, FRAME[1] / 2], [0, 0, 1]])
    count = len(names)
    table = FrameTable(
        names, np.arange(count), files, np.tile(K, (count, 1, 1)), np.zeros(count, bool)
    )
    return RecordedDataset(
        table, found, keep_all=False, image_px=SIDE, margin=1.7, smooth_frames=0,
        source=str(folder), dropped={},
    )  # fmt: skip


def loader(dataset: HandDataset, workers: int) -> DataLoader[HandBatch]:
    """Batches in a fixed shuffled order."""
    order = np.random.default_rng(0).permutation(len(dataset)).tolist()
    return DataLoader(
        dataset, BATCH, sampler=order, num_workers=workers, collate_fn=HandBatch.stack,
        persistent_workers=workers > 0,
    )  # fmt: skip


def best_rates(datasets: Sequence[HandDataset], workers: int, rounds: int) -> list[float]:
    """Frames per second of each, in turns; the first round is a warm-up.

    CPU time without workers, elapsed time with them, whose CPU time is not counted here.
    """
    clock = time.perf_counter if workers else time.process_time
    loaders = [loader(dataset, workers) for dataset in datasets]
    best = [0.0] * len(datasets)
    for round_ in range(rounds + 1):
        for i, batches in enumerate(loaders):
            start = clock()
            count = sum(len(batch.index) for batch in batches)
            if round_:
                best[i] = max(best[i], count / (clock() - start))
    return best


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(
        "dataset", "workers", "files, frames/s", "PNG shards", "raw shards", "kB, PNG / raw"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = rendered(folder / "cache", options.frames)
        source.prepare()
        kinds = {
            "JPEG crops": freihand(folder / "freihand", source),
            "JPEG frames, cropped": recorded(folder / "recorded", source),
            "mapped array": source,
        }
        for kind, dataset in kinds.items():
            sizes = []
            for raw in (False, True):
                index = pack(dataset, folder / f"{kind}-{raw}", raw)
                sizes.append(index.bytes / len(dataset) / 1e3)
            packed = [PackedDataset(folder / f"{kind}-{raw}") for raw in (False, True)]
            for workers in (0, 2):
                files, *shards = best_rates([dataset, *packed], workers, options.rounds)
                ratios = [f"{rate:.0f} ({rate / files:.2f} x)" for rate in shards]
                size = f"{sizes[0]:.0f} / {sizes[1]:.0f}"
                table.add_row(kind, str(workers), f"{files:.0f}", *ratios, size)
    console = Console(width=120)
    console.print(table)
    machine = f"{cores()} cores of {platform.machine()}"
    console.print(f"{git_revision()}, {machine}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
