from collections.abc import Sequence

import pytest

from s2hand.data.base import HandDataset, content_key
from s2hand.types import HandBatch


class Three(HandDataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> HandBatch:
        raise NotImplementedError

    @property
    def names(self) -> Sequence[str]:
        return ["a", "b", "c"]

    @property
    def content_key(self) -> str:
        return "k"


def test_without_sequences_every_frame_is_a_segment():
    assert [list(run) for run in Three().segments()] == [[0], [1], [2]]
    assert Three().prepare() is None


def test_the_abstract_part_must_be_written():
    with pytest.raises(TypeError, match="abstract"):
        HandDataset()


def test_content_key_follows_names_and_values_but_not_their_order():
    key = content_key(split="train", size=4, sides=[1, 2])
    assert key == content_key(sides=[1, 2], size=4, split="train")
    assert len(key) == 16
    assert int(key, 16) >= 0
    others = [
        content_key(split="val", size=4, sides=[1, 2]),
        content_key(split="train", size=5, sides=[1, 2]),
        content_key(split="train", size=4, sides=[2, 1]),
        content_key(cut="train", size=4, sides=[1, 2]),
    ]
    assert len({key, *others}) == 5
