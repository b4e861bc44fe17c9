"""Datasets made from another one forward everything that they do not change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fixtures.frames import PlainFrames
from s2hand.data.base import HandDataset
from s2hand.data.corrupted import CorruptedDetections
from s2hand.data.storage.features import FeatureDataset
from s2hand.data.subset import SequenceSubset
from s2hand.data.wrapped import WrappedDataset
from s2hand.types import Labels


class Particular(PlainFrames):
    """Frames of which nothing is as by default."""

    fps, convention, leaderboard, protocol = 25.0, "ho3d", "freihand", "rhd"

    def labels_of(self, index: int) -> Labels | None:
        return Labels(torch.full((1, 21, 3), index), torch.full((1, 778, 3), index))

    def recording(self, index: int) -> str:
        return f"recording{index}"

    def detection_name(self, index: int) -> str:
        return f"detection{index}"

    def is_left(self, index: int) -> bool:
        return index % 2 == 1


def features(dataset: HandDataset, cache: Path) -> HandDataset:
    return FeatureDataset(dataset, lambda image: (image[:, :1],), "first", cache)


WRAPPERS: dict[str, Callable[[HandDataset, Path], HandDataset]] = {
    "subset": lambda dataset, _: SequenceSubset(lambda: dataset, 0),
    "corrupted": lambda dataset, _: CorruptedDetections(lambda: dataset),
    "features": features,
    "plain": lambda dataset, _: WrappedDataset(dataset),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_every_public_attribute_is_forwarded(name: str, tmp_path: Path) -> None:
    inner = Particular()
    outer = WRAPPERS[name](inner, tmp_path)
    outer.prepare()
    assert inner.prepared == 1
    # ``needs_hand`` is about the constructor, and a wrapper gets a made dataset.
    checked = {"prepare", "content_key", "needs_hand"}
    for key in ("fps", "convention", "leaderboard", "protocol", "names", "segments"):
        of_inner, of_outer = getattr(inner, key), getattr(outer, key)
        assert (of_outer() if callable(of_outer) else of_outer) == (
            of_inner() if callable(of_inner) else of_inner
        ), key
        checked.add(key)
    for key in ("recording", "detection_name", "is_left"):
        assert getattr(outer, key)(-1) == getattr(inner, key)(9), key
        checked.add(key)
    labels = outer.labels_of(3)
    assert labels is not None
    assert (labels.joints == 3).all()
    checked.add("labels_of")
    assert {key for key in vars(HandDataset) if not key.startswith("_")} == checked


@pytest.mark.parametrize("name", WRAPPERS)
def test_frames_count_from_the_end_too(name: str, tmp_path: Path) -> None:
    inner = Particular()
    outer = WRAPPERS[name](inner, tmp_path)
    outer.prepare()
    assert torch.equal(outer[-1].image, inner[9].image)
    with pytest.raises(IndexError):
        outer[10]
    if name == "features":
        assert outer[-1].features[0].shape == (1, 1, 16, 16)
