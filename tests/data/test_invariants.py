"""What holds for every dataset, whatever its files: cameras, keypoints, joints, windows, keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from fixtures.datasets import FORMATS, detections_of
from s2hand.data.augment import Augment
from s2hand.data.base import HandDataset
from s2hand.data.windows import WindowedDataset
from s2hand.geometry.camera import project
from s2hand.geometry.skeleton import TO_COMMON, inverse_order
from s2hand.hand.mano import ManoHead
from s2hand.types import HandBatch
from s2hand.window import Window

PROJECTED_PX = 1e-3
REGRESSED_M = 1e-4
GUESSED = {"stb": [0]}
"""Joints that the labels do not hold: STB's wrist is made up from the palm."""
LABELLED = [name for name in FORMATS if name != "youtube"]


@dataclass(frozen=True)
class Read:
    """A fixture and the dataset that reads it."""

    name: str
    root: Path
    detections: Path
    dataset: HandDataset


_read: dict[str, Read] = {}


@pytest.fixture
def read(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Read:
    """Written and opened once; read only."""
    name = request.param
    if name not in _read:
        made = FORMATS[name].write(tmp_path_factory.mktemp(name) / "tree")
        detections = detections_of(made)
        _read[name] = Read(name, made.root, detections, FORMATS[name].read(made.root, detections))
    return _read[name]


def all_frames(dataset: HandDataset) -> HandBatch:
    return HandBatch.stack([dataset[i] for i in range(len(dataset))])


def check_projection(batch: HandBatch, name: str) -> None:
    """The labelled joints, through K, fall on what was detected of them."""
    assert batch.labels is not None
    off = project(batch.labels.joints, batch.camera.intrinsics) - batch.keypoints
    seen = (batch.confidence > 0) & batch.labels.joints.isfinite().all(-1)
    seen[..., GUESSED.get(name, [])] = False
    assert seen.sum() > 5 * len(seen)
    assert off[seen].norm(dim=-1).max() < PROJECTED_PX


@pytest.mark.parametrize("read", LABELLED, indirect=True)
def test_joints_fall_on_their_keypoints_in_every_crop(read: Read) -> None:
    check_projection(all_frames(read.dataset), read.name)


@pytest.mark.parametrize("read", LABELLED, indirect=True)
@pytest.mark.parametrize("about", ["centre", "principal"])
def test_so_they_do_however_the_crop_is_turned_scaled_and_moved(read: Read, about: str) -> None:
    augment = Augment(180, (0.6, 1.4), centre_px=30, colour=0.3, about=about)  # type: ignore[arg-type]
    for seed in range(4):
        torch.manual_seed(seed)
        check_projection(augment(all_frames(read.dataset)), read.name)


@pytest.mark.parametrize("read", LABELLED, indirect=True)
def test_vertices_regress_to_the_labelled_joints(read: Read) -> None:
    labels = all_frames(read.dataset).labels
    assert labels is not None
    if not labels.vertices.isfinite().all() or read.dataset.convention is None:
        pytest.skip(f"{read.name} gives no vertices, or joints of no mesh")
    head = ManoHead("open", convention=read.dataset.convention)
    regressed = head.joints_from_posed(labels.vertices)
    assert (regressed - labels.joints).norm(dim=-1).max() < REGRESSED_M


@pytest.mark.parametrize("read", FORMATS, indirect=True)
def test_windows_never_cross_a_cut(read: Read) -> None:
    runs = read.dataset.segments()
    assert sorted(i for run in runs for i in run) == list(range(len(read.dataset)))
    for run in runs:
        assert len({read.dataset.recording(i) for i in run}) == 1
    if max(map(len, runs)) < 3:
        pytest.skip(f"{read.name} holds pictures that do not follow each other")
    windows = WindowedDataset(read.dataset, Window(3))
    allowed = {tuple(run[i : i + 3]) for run in runs for i in range(len(run) - 2)}
    assert {tuple(windows[i].index.flatten().tolist()) for i in range(len(windows))} == allowed


@pytest.mark.parametrize("read", FORMATS, indirect=True)
def test_a_key_is_of_the_content(read: Read) -> None:
    again = FORMATS[read.name].read(read.root, read.detections)
    assert again.content_key == read.dataset.content_key
    assert list(again.names) == list(read.dataset.names)
    keys = {name: other.dataset.content_key for name, other in _read.items()}
    assert len(set(keys.values())) == len(keys)


@pytest.mark.parametrize("order", TO_COMMON)
def test_orders_of_joints_go_there_and_back(order: str) -> None:
    there = TO_COMMON[order]
    assert sorted(there) == list(range(len(there)))
    back = inverse_order(there)
    assert [there[i] for i in back] == list(range(len(there)))
