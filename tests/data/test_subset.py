"""One sequence of a dataset."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from fixtures.frames import PlainFrames
from s2hand.data.subset import SequenceSubset


class TwoRuns(PlainFrames):
    """Ten frames: 0 to 3, a cut, 5 to 9; frame 4 is of no sequence."""

    fps = 25.0

    def segments(self) -> list[Sequence[int]]:
        return [range(0, 4), range(5, 10)]


def test_the_frames_are_those_of_the_sequence_counted_anew() -> None:
    whole = TwoRuns()
    subset = SequenceSubset(lambda: whole, 1)
    assert (len(subset), subset.fps) == (5, 25.0)
    assert subset.names == ["000005", "000006", "000007", "000008", "000009"]
    assert subset.segments() == [range(5)]
    for index in range(5):
        assert torch.equal(subset[index].image, whole[5 + index].image)
        assert subset[index].index.tolist() == [index]
    assert torch.equal(subset[-1].image, whole[9].image)
    assert subset[-1].index.tolist() == [4]
    with pytest.raises(IndexError):
        subset[5]


def test_what_the_whole_says_of_itself_holds_for_a_part() -> None:
    class Labelled(TwoRuns):
        convention, leaderboard = "ho3d", "ho3d"

        def recording(self, index: int) -> str:
            return "first" if index < 5 else "second"

    subset = SequenceSubset(Labelled, 1)
    assert (subset.convention, subset.leaderboard) == ("ho3d", "ho3d")
    assert subset.recording(0) == "second"


def test_preparing_prepares_the_whole() -> None:
    whole = TwoRuns()
    SequenceSubset(lambda: whole, 0).prepare()
    assert whole.prepared == 1


def test_the_key_tells_sequences_and_datasets_apart() -> None:
    keys = {
        SequenceSubset(lambda: TwoRuns(seed=seed), sequence).content_key  # noqa: B023
        for seed in (0, 1)
        for sequence in (0, 1)
    }
    assert len(keys) == 4
    assert SequenceSubset(TwoRuns, 1).content_key == SequenceSubset(TwoRuns, 1).content_key


@pytest.mark.parametrize("sequence", [-1, 2])
def test_a_sequence_that_is_not_there_is_refused(sequence: int) -> None:
    with pytest.raises(ValueError, match=f"sequence={sequence}: the dataset has 2 sequences"):
        SequenceSubset(TwoRuns, sequence)
