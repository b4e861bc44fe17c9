"""Random damage to every dataset's files: an error that names a path, or frames that are as before.

One case damages one file (cuts it short, flips bytes, deletes it, swaps it with another of its
kind), opens the dataset and reads every frame. What fails says ``dataset-seed``; to see one case
again: ``pytest "tests/data/test_fuzz.py::test_damage_is_told[dataset-seed]"``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fixtures.datasets import FORMATS, detections_of
from s2hand.data.base import HandDataset

QUICK, ALL = 8, 63
"""Cases of each dataset in the usual suite, and in the slow one: 504 in all."""
IMAGES = (".jpg", ".png")


_trees: dict[str, tuple[Path, Path, dict[str, Any]]] = {}


def tree(name: str, folder: Callable[[str], Path]) -> tuple[Path, Path, dict[str, Any]]:
    """Root, detections and samples by name of an undamaged dataset, written once."""
    if name not in _trees:
        made = FORMATS[name].write(folder(name) / "tree")
        detections = detections_of(made)
        _trees[name] = made.root, detections, samples(FORMATS[name].read(made.root, detections))
    return _trees[name]


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


def cases() -> Iterator[Any]:
    for name in FORMATS:
        for seed in range(ALL):
            marks = [] if seed < QUICK else [pytest.mark.slow]
            yield pytest.param(name, seed, id=f"{name}-{seed}", marks=marks)


@pytest.mark.parametrize(("name", "seed"), list(cases()))
def test_damage_is_told(
    name: str, seed: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    root, detections, before = tree(name, tmp_path_factory.mktemp)
    monkeypatch.setenv("S2HAND_CACHE", str(tmp_path / "cache"))
    copy = tmp_path / root.parent.name / root.name
    shutil.copytree(root.parent, copy.parent)
    rng = np.random.default_rng(seed)
    files = sorted(path for path in copy.parent.rglob("*") if path.is_file())
    # Files of labels and lists are few beside the images, and do more harm.
    others = [path for path in files if path.suffix not in IMAGES]
    chosen = files if seed % 3 == 0 else others
    path = chosen[int(rng.integers(len(chosen)))]
    kind = [file for file in files if file.suffix == path.suffix and file != path]
    twin = kind[int(rng.integers(len(kind)))] if kind else None
    how = ("cut", "flip", "delete", "swap")[int(rng.integers(4))]
    damage(path, twin, how, rng)
    what = f"{how} {path.relative_to(copy.parent)}"
    try:
        dataset = FORMATS[name].read(copy, copy.parent / detections.relative_to(root.parent))
        after = samples(dataset)
    except (ValueError, OSError) as error:
        if str(tmp_path) not in str(error):
            pytest.fail(f"{what}: an error without a path: {error!r}")
        return
    if name == "dexycb" and path.name == "meta.yml":
        return  # its splits count the sequences: with one less others are in; a warning says so
    # Nothing tells a flipped digit, or two whole files that changed places, from the truth.
    if how in ("cut", "delete"):
        assert set(after) <= set(before), f"{what}: frames that there are not"
        wrong = [n for n, sample in after.items() if not same(sample, before[n])]
        assert not wrong, f"{what}: other samples without a word: {wrong}"
