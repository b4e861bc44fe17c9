"""Invariants of every dataset: cameras, keypoints, joints, windows, keys."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from fixtures.datasets import ALL, FORMATS, Read, read_once
from fixtures.freihand import write_freihand
from fixtures.hands import regressed_joints
from fixtures.mano_pickles import python2_pickle
from fixtures.rhd import annotation
from s2hand.data.augment import Augment
from s2hand.data.base import HandDataset
from s2hand.data.recorded.ho3d import Ho3dDataset
from s2hand.data.windows import WindowedDataset
from s2hand.geometry.camera import project
from s2hand.geometry.skeleton import JOINT_CONVENTIONS, TO_COMMON, inverse_order
from s2hand.hand.mano import ManoHead
from s2hand.types import HandBatch, HandCode
from s2hand.window import Window

PROJECTED_PX = 1e-3
REGRESSED_M = 1e-4
GUESSED = {"stb": [0]}
"""Joints without label: STB's wrist is extrapolated from the palm."""
EXACT = [name for name in ALL if name not in ("youtube", "frames", "synthetic")]
"""Labelled, and detected where the joints are; the detector of synthetic hands errs on purpose."""
MESHES = ["freihand", "ho3d", "ho3d_v3", "dexycb", "hanco", "synthetic"]
"""Joints that are points of a mesh, which is served or known of the fixture. What packed sets serve
is compared with their originals bit by bit in test_shards.py."""
STILLS = ("freihand", "rhd", "youtube")


@pytest.fixture
def read(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Read:
    """Written and opened once; read only."""
    return read_once(request.param, tmp_path_factory)


def all_frames(dataset: HandDataset) -> HandBatch:
    return HandBatch.stack([dataset[i] for i in range(len(dataset))])


def check_projection(batch: HandBatch, name: str) -> None:
    """The labelled joints, through K, coincide with their detections."""
    assert batch.labels is not None
    off = project(batch.labels.joints, batch.camera.intrinsics) - batch.keypoints
    seen = (batch.confidence > 0) & batch.labels.joints.isfinite().all(-1)
    seen[..., GUESSED.get(name, [])] = False
    assert seen.sum() > 5 * len(seen)
    assert off[seen].norm(dim=-1).max() < PROJECTED_PX


@pytest.mark.parametrize("read", EXACT, indirect=True)
def test_joints_fall_on_their_keypoints_in_every_crop(read: Read) -> None:
    check_projection(all_frames(read.dataset), read.name)


@pytest.mark.parametrize("read", EXACT, indirect=True)
@pytest.mark.parametrize("about", ["centre", "principal"])
def test_so_they_do_in_a_rotated_scaled_and_moved_crop(read: Read, about: str) -> None:
    augment = Augment(180, (0.6, 1.4), centre_px=30, colour=0.3, about=about)
    for seed in range(4):
        torch.manual_seed(seed)
        check_projection(augment(all_frames(read.dataset)), read.name)


def mesh_of(read: Read, index: int) -> tuple[Float[Tensor, "1 778 3"], HandCode | None]:
    """The vertices of a frame as it is served, and the code that posed them where they are not
    served: the fixture's truth."""
    labels = read.dataset.labels_of(index)
    assert labels is not None
    if labels.vertices.isfinite().all():
        return labels.vertices, None
    name = read.dataset.names[index]
    flip = np.array([-1.0 if read.dataset.is_left(index) else 1.0, 1.0, 1.0])
    if read.name == "hanco":
        vertices, code = read.tree.vertices[name], read.tree.code[name]
    else:
        vertices, code = read.tree.frames[name].vertices, read.tree.frames[name].code
    return torch.from_numpy(vertices * flip)[None].float(), code


@cache
def head_of(convention: str) -> ManoHead:
    return ManoHead("open", convention=convention)


def joints_on(
    vertices: Float[Tensor, "1 778 3"], code: HandCode | None, convention: str, left: bool = False
) -> Float[Tensor, "1 21 3"]:
    """The joints of a mesh: regressed from it, or those of the kinematic chain that posed it.

    No mesh tells where the chain's joints are, so the hand is posed again and moved onto it.
    """
    head = head_of(convention)
    if code is None or head.convention.inner == "regressor":
        return regressed_joints(vertices, convention)
    hand = head(code.map(lambda x: x[:, None]), left=torch.tensor([[left]]))
    posed, target = hand.vertices[0, 0].double(), vertices[0].double()
    u, _, vt = torch.linalg.svd((posed - posed.mean(0)).T @ (target - target.mean(0)))

    def onto_mesh(points: Tensor) -> Tensor:
        return (points.double() - posed.mean(0)) @ (u @ vt) + target.mean(0)

    assert (onto_mesh(posed) - target).norm(dim=-1).max() < REGRESSED_M
    return onto_mesh(hand.joints[0]).float()


def off_labels(read: Read, convention: str) -> float:
    """Largest distance of the labelled joints from those of their meshes, metres."""
    worst = 0.0
    for index in range(len(read.dataset)):
        labels = read.dataset.labels_of(index)
        assert labels is not None
        expected = joints_on(*mesh_of(read, index), convention, read.dataset.is_left(index))
        worst = max(worst, float((expected - labels.joints).norm(dim=-1).max()))
    return worst


@pytest.mark.parametrize("read", MESHES, indirect=True)
def test_joints_are_their_mesh_s_under_the_dataset_s_convention_alone(read: Read) -> None:
    convention = read.dataset.convention or "freihand"  # the one of the rendered hand
    assert off_labels(read, convention) <= REGRESSED_M
    for other in set(JOINT_CONVENTIONS) - {convention}:
        assert off_labels(read, other) > REGRESSED_M, f"{other} fits, too: nothing is tested"


@pytest.mark.parametrize("read", ["ho3d"], indirect=True)
def test_so_they_are_in_files_that_hold_both(read: Read) -> None:
    """HO-3D's evaluation, whose meshes come through the loader."""
    whole = Ho3dDataset(read.root, None, "evaluation", labels=True)
    evaluation = Read("ho3d", read.tree, read.detections, whole)
    assert all(mesh_of(evaluation, index)[1] is None for index in range(len(whole)))
    tips = [4, 8, 12, 16, 20]
    for convention, points in JOINT_CONVENTIONS.items():
        off = 0.0
        for index, name in enumerate(whole.names):
            vertices = mesh_of(evaluation, index)[0]
            joints = whole.labels_of(index).joints
            posed = joints_on(vertices, read.tree.frames[name].code, convention)
            on_mesh = vertices[0, list(points.tips)]
            off = max(off, float((posed - joints).norm(dim=-1).max()),
                      float((on_mesh - joints[0, tips]).norm(dim=-1).max()))  # fmt: skip
        assert (off <= REGRESSED_M) == (convention == "ho3d"), convention


@pytest.mark.parametrize("read", ALL, indirect=True)
def test_windows_never_cross_a_cut(read: Read) -> None:
    runs = read.dataset.segments()
    assert sorted(i for run in runs for i in run) == list(range(len(read.dataset)))
    for run in runs:
        assert len({read.dataset.recording(i) for i in run}) == 1
    longest = max(map(len, runs))
    assert (longest == 1) == (read.name in STILLS)
    if longest < 3:
        pytest.skip(f"{read.name} holds pictures that do not follow each other")
    windows = WindowedDataset(read.dataset, Window(3))
    allowed = {tuple(run[i : i + 3]) for run in runs for i in range(len(run) - 2)}
    assert {tuple(windows[i].index.flatten().tolist()) for i in range(len(windows))} == allowed


@pytest.mark.parametrize("read", ALL, indirect=True)
def test_a_key_is_of_the_content(read: Read, tmp_path_factory: pytest.TempPathFactory) -> None:
    again = ALL[read.name].read(read.root, read.detections)
    assert again.content_key == read.dataset.content_key
    assert list(again.names) == list(read.dataset.names)
    others = [read_once(name, tmp_path_factory).dataset.content_key for name in ALL]
    assert others.count(again.content_key) == 1


@pytest.mark.parametrize("order", TO_COMMON)
def test_orders_of_joints_go_there_and_back(order: str) -> None:
    there = TO_COMMON[order]
    assert sorted(there) == list(range(len(there)))
    back = inverse_order(there)
    assert [there[i] for i in back] == list(range(len(there)))


def _edit(path: Path, change: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def _fewer_images(root: Path) -> None:
    shutil.rmtree(root)
    write_freihand(root, training=5)


def _fewer_pictures(root: Path, hands: Any) -> None:
    content = {number: annotation(hands, number) for number in (0, 1)}
    (root / "training" / "anno_training.pickle").write_bytes(python2_pickle(content))


Shrink = Callable[[Read, Path], Any]
SHORTER: dict[str, tuple[str, Shrink]] = {
    "freihand": ("0000000[0-4]", lambda _, root: _fewer_images(root)),
    "ho3d": (
        "ABF10/0000|SM2/0009|SM2/0010",
        lambda _, root: (root / "train.txt").write_text("ABF10/0000\nSM2/0009\nSM2/0010\n"),
    ),
    "dexycb": ("20200709.*", lambda _, root: shutil.rmtree(root / "20200820-subject-03")),
    "stb": ("B2.*", lambda _, root: shutil.rmtree(root / "images" / "B6Counting")),
    "rhd": ("0000[01]/.*", lambda read, root: _fewer_pictures(root, read.tree.hands)),
    "hanco": ("0000/.*", lambda _, root: shutil.rmtree(root / "rgb" / "0001")),
    "interhand": (
        ".*_right/.*",
        lambda _, root: _edit(
            root / "annotations" / "train" / "InterHand2.6M_train_data.json",
            lambda c: (
                c | {"annotations": [a for a in c["annotations"] if a["hand_type"] != "left"]}
            ),
        ),
    ),
    "youtube": (
        ".*/frames/10/.*",
        lambda _, root: _edit(
            root / "youtube_train.json",
            lambda c: c | {"annotations": [a for a in c["annotations"] if a["image_id"] == 40]},
        ),
    ),
}
"""The change that removes frames from a tree, and the names of the others."""


@pytest.mark.parametrize("read", FORMATS, indirect=True)
def test_lengths_come_from_the_files(read: Read, tmp_path: Path) -> None:
    """A tree of other counts opens, with the frames that it has only."""
    root = Path(shutil.copytree(read.root, tmp_path / "copy"))
    left, shrink = SHORTER[read.name]
    shrink(read, root)
    fewer = FORMATS[read.name].read(root, root / read.detections.relative_to(read.root))
    expected = [name for name in read.dataset.names if re.fullmatch(left, name)]
    assert list(fewer.names) == expected
    assert 0 < len(expected) < len(read.dataset)
    assert fewer[len(fewer) - 1].image.shape == read.dataset[0].image.shape


@pytest.mark.parametrize("read", ALL, indirect=True)
def test_indices_count_from_the_end_too(read: Read) -> None:
    dataset, count = read.dataset, len(read.dataset)
    assert torch.equal(dataset[-1].image, dataset[count - 1].image)
    assert dataset[-1].index.tolist() == [count - 1]
    for index in (count, -count - 1):
        with pytest.raises(IndexError):
            dataset[index]
