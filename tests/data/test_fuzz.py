"""Random damage to every dataset's files: an error that names a path, or a counted, missing frame.

One case damages one file (cuts it short, flips bytes, deletes it, swaps it with another of its
kind), opens the dataset and reads every frame. Its detections have checksums of the pictures,
like those of ``s2hand-detect --dataset``. Damage that no parser and no plausibility check can find
(such as labels of the next frame) must be found with the checksums of the dataset's files: such a
case is opened again with ``SHA256SUMS`` of the undamaged files.
A failure prints ``dataset-seed``; to repeat one case:
``pytest "tests/data/test_fuzz.py::test_damage_is_reported[dataset-seed]"``.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fixtures.datasets import FORMATS, detections_of
from s2hand.data.base import HandDataset
from s2hand.data.detections.base import NOT_YET, Detections
from s2hand.data.detections.files import write_detections
from s2hand.files.checksums import SUMS

CASES = 63
"""Per dataset: 504 in total."""
IMAGES = (".jpg", ".png")
NAMED = "the damaged file is named"
REPORTED = (NAMED, "a path is named", "as before", "counted")
UNNOTICED = ("flip", "swap")
"""Damage that may look like data, and so needs checksums; cut and deleted files never do."""


@dataclass(frozen=True)
class Tree:
    """An undamaged dataset: its folder, its samples, and its checksums."""

    top: Path
    """The folder of all its files."""
    root: Path
    """Below ``top``, like ``detections``."""
    detections: Path
    samples: dict[str, Any]
    reasons: dict[str, int]
    sums: str


_trees: dict[str, Tree] = {}


def tree(name: str, folder: Callable[[str], Path]) -> Tree:
    """Written and read once."""
    if name not in _trees:
        made = FORMATS[name].write(folder(name) / "tree")
        top = made.root.parent
        detections = top / "found.json"
        write_detections(detections, knowing_pictures(name, made))
        dataset = FORMATS[name].read(made.root, detections)
        digests = {
            path.relative_to(top).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(top.rglob("*")) if path.is_file()
        }  # fmt: skip
        sums = "".join(f"{digest}  {path}\n" for path, digest in digests.items())
        reasons = dataset.reasons  # type: ignore[attr-defined]
        where = made.root.relative_to(top), detections.relative_to(top)
        _trees[name] = Tree(top, *where, samples(dataset), reasons, sums)
    return _trees[name]


def knowing_pictures(name: str, made: Any) -> Detections:
    """What was detected in the frames of a tree, with the checksums of their pictures."""
    dataset, every = (FORMATS[name].read(made.root, d) for d in (detections_of(made), NOT_YET))
    rows = {frame: row for row, frame in enumerate(dataset.names)}
    keypoints, confidence = np.zeros((len(every), 21, 2)), np.zeros((len(every), 21))
    for i, frame in enumerate(every.names):
        if frame in rows:
            keypoints[i] = dataset._keypoints[rows[frame]]
            confidence[i] = dataset._confidence[rows[frame]]
    sums = [hashlib.sha256(every.path(i).read_bytes()).digest() for i in range(len(every))]
    names = tuple(every.detection_name(i) for i in range(len(every)))
    images = np.frombuffer(b"".join(sums), np.uint8).reshape(-1, 32)
    return Detections(names, keypoints, confidence, image_sha256=images)


def samples(dataset: HandDataset) -> dict[str, Any]:
    return {name: dataset[i] for i, name in enumerate(dataset.names)}


def same(a: Any, b: Any) -> bool:
    """Whether two samples are equal but for their position in the dataset."""
    pairs = [(a.image, b.image), (a.keypoints, b.keypoints), (a.confidence, b.confidence),
             (a.camera.intrinsics, b.camera.intrinsics)]  # fmt: skip
    if a.labels is not None and b.labels is not None:
        pairs += [(a.labels.joints, b.labels.joints), (a.labels.vertices, b.labels.vertices)]
    return all(x.shape == y.shape and torch.equal(x.nan_to_num(), y.nan_to_num()) for x, y in pairs)


def damage(path: Path, twin: Path | None, how: str, rng: np.random.Generator) -> None:
    content = path.read_bytes()
    if how == "cut":
        path.write_bytes(content[: int(rng.integers(0, max(len(content), 1)))])
    elif how == "delete":
        path.unlink()
    elif how == "swap" and twin is not None:
        path.write_bytes(twin.read_bytes())
        twin.write_bytes(content)
    else:
        flipped = bytearray(content)
        for position in rng.integers(0, max(len(content), 1), 8):
            flipped[position] ^= int(rng.integers(1, 256))
        path.write_bytes(flipped)


def outcome(name: str, before: Tree, copy: Path, paths: list[Path]) -> str:
    """The outcome of opening and reading a damaged copy."""
    try:
        dataset = FORMATS[name].read(copy / before.root, copy / before.detections)
        after = samples(dataset)
    except (ValueError, OSError) as error:
        if any(str(path) in str(error) for path in paths):
            return NAMED
        return "a path is named" if str(copy) in str(error) else f"no path: {error!r}"
    extra = set(after) - set(before.samples)
    wrong = [n for n in after if n not in extra and not same(after[n], before.samples[n])]
    if extra or wrong:
        return f"silently other samples: {sorted(extra | set(wrong))}"
    if len(after) == len(before.samples):
        return "as before"
    counts = dataset.reasons  # type: ignore[attr-defined]
    return "counted" if counts != before.reasons else "silently fewer samples"


def cases() -> Iterator[Any]:
    for name in FORMATS:
        for seed in range(CASES):
            yield pytest.param(name, seed, id=f"{name}-{seed}")


@pytest.mark.parametrize(("name", "seed"), list(cases()))
def test_damage_is_reported(
    name: str, seed: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    before = tree(name, tmp_path_factory.mktemp)
    monkeypatch.setenv("S2HAND_CACHE", str(tmp_path / "cache"))
    copy = shutil.copytree(before.top, tmp_path / "damaged")
    rng = np.random.default_rng(seed)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    # Damaged labels and lists do more harm, and images would outnumber them.
    others = [path for path in files if path.suffix not in IMAGES]
    chosen = files if seed % 3 == 0 else others
    path = chosen[int(rng.integers(len(chosen)))]
    kind = [file for file in files if file.suffix == path.suffix and file != path]
    twin = kind[int(rng.integers(len(kind)))] if kind else None
    how = ("cut", "flip", "delete", "swap")[int(rng.integers(4))]
    damage(path, twin, how, rng)
    what = f"{how} {path.relative_to(copy)}"
    touched = [path] if twin is None or how != "swap" else [path, twin]
    result = outcome(name, before, copy, touched)
    assert result in REPORTED or (result.startswith("silent") and how in UNNOTICED), (
        f"{what}: {result}"
    )
    if result.startswith("silent"):
        # Another folder: lists of checksums are searched once per process.
        listed = shutil.copytree(copy, tmp_path / "listed")
        (listed / SUMS).write_text(before.sums)
        touched = [listed / file.relative_to(copy) for file in touched]
        assert outcome(name, before, listed, touched) == NAMED, f"{what}, with checksums"
