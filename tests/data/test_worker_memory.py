"""What the workers of a loader hold for themselves does not grow with the frames they have read.

Forked workers share what the parent has opened until somebody writes to it, and Python writes to
every object that is only looked at. So a list with an object for each frame ends as a copy in every
worker.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from s2hand.data.base import HandDataset
from s2hand.data.detections.base import Detections
from s2hand.data.recorded.base import RecordedDataset
from s2hand.data.recorded.frame_table import FrameTable
from s2hand.data.recorded.freihand import FreiHandDataset
from s2hand.files.json import write_json

SMAPS = Path("/proc/self/smaps")
EPOCHS, WORKERS, BATCH = 2, 2, 250
MB = 2**20
MOST_MB = 1.5
"""What a process takes and gives back at any time; a path of every frame takes 2 MB per 10,000."""

pytestmark = pytest.mark.skipif(not SMAPS.exists(), reason="this system tells no private memory")


def images(folder: Path, count: int, side: int) -> list[Path]:
    """Many names of one picture."""
    folder.mkdir(parents=True)
    Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(folder / "one.jpg")
    files = [folder / f"{number:08d}.jpg" for number in range(count)]
    for file in files:
        file.symlink_to(folder / "one.jpg")
    return files


def intrinsics(side: int) -> np.ndarray:
    return np.array([[side, 0, side / 2], [0, side, side / 2], [0, 0, 1.0]])


def found(names: tuple[str, ...], side: int) -> Detections:
    keypoints = np.random.default_rng(0).uniform(0.2 * side, 0.8 * side, (len(names), 21, 2))
    return Detections(names, keypoints, np.full((len(names), 21), 0.9))


def recorded(root: Path, count: int, side: int = 32) -> HandDataset:
    files = images(root / ("a-long-path-as-on-clusters/" * 4), count, side)
    names = tuple(f"20200709-subject-01/20200709_141754/color_{file.stem}" for file in files)
    joints = np.random.default_rng(0).normal([0, 0, 0.6], 1e-3, (count, 21, 3))
    table = FrameTable(
        names, np.arange(count), files, np.tile(intrinsics(side), (count, 1, 1)),
        np.zeros(count, bool), joints=joints, sizes=np.full((count, 2), side),
    )  # fmt: skip
    return RecordedDataset(
        table, found(names, side), keep_all=True, image_px=32, margin=1.7, smooth_frames=0,
        source=str(root), dropped={},
    )  # fmt: skip


def freihand(root: Path, count: int, side: int = 224) -> HandDataset:
    files = images(root / "training" / "rgb", count, side)
    write_json(root / "training_K.json", [intrinsics(side).tolist()] * count, indent=None)
    return FreiHandDataset(root, found(tuple(file.stem for file in files), side), image_px=32)


def weigh(batch: list[object]) -> tuple[int, int, int]:
    """Called by the worker that has read a batch: its size, the process and its private bytes.

    Of everything but the C library's heap, where freed blocks are merged now and then, which takes
    some MB once.
    """
    held, heap = 0, False
    for line in SMAPS.read_text().splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):
            heap = rest[-1] == "[heap]"
        elif first.startswith("Private_") and not heap:
            held += 1024 * int(rest[0])
    return len(batch), os.getpid(), held


def growth(frames: HandDataset) -> float:
    """MB that a worker holds after all epochs more than after a tenth of the first, the most."""
    loader = DataLoader(
        frames, BATCH, num_workers=WORKERS, persistent_workers=True, collate_fn=weigh,
        multiprocessing_context="fork",
    )  # fmt: skip
    gc.freeze()  # the collector of a worker writes to every object there is once, whoever made it
    early: dict[int, int] = {}
    late: dict[int, int] = {}
    for epoch in range(EPOCHS):
        read = 0
        for size, worker, held in loader:
            read += size
            is_early = epoch == 0 and read <= len(frames) // 10
            (early if is_early else late)[worker] = held
    gc.unfreeze()
    assert len(early) == len(late) == WORKERS
    return max(late[worker] - early[worker] for worker in early) / MB


def test_a_worker_holds_no_more_after_two_epochs(tmp_path: Path) -> None:
    assert growth(recorded(tmp_path, 10_000)) < MOST_MB


@pytest.mark.slow
@pytest.mark.parametrize("make", [recorded, freihand])
def test_nor_of_many_frames(tmp_path: Path, make: Callable[[Path, int], HandDataset]) -> None:
    assert growth(make(tmp_path, 50_000)) < MOST_MB


@pytest.mark.slow
def test_a_list_of_paths_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = recorded(tmp_path, 10_000)
    files = [frames.path(index) for index in range(len(frames))]
    monkeypatch.setattr(RecordedDataset, "path", lambda self, index: files[index])
    assert growth(frames) > MOST_MB
