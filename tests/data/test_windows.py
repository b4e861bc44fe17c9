from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from s2hand.data.base import HandDataset
from s2hand.data.windows import WindowedDataset
from s2hand.types import Camera, HandBatch
from s2hand.window import Window


class Recording(HandDataset):
    """Frames of several sequences, each with a frame number; numbers may be missing."""

    def __init__(self, numbers: list[list[int]]) -> None:
        self.numbers = [(s, number) for s, run in enumerate(numbers) for number in run]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> HandBatch:
        number = torch.tensor(self.numbers[index], dtype=torch.float32)
        return HandBatch(
            image=torch.zeros(1, 3, 4, 4),
            keypoints=number.expand(1, 21, 2),
            confidence=torch.ones(1, 21),
            camera=Camera(torch.eye(3)[None]),
            index=torch.tensor([index]),
        )

    @property
    def names(self) -> Sequence[str]:
        return [f"{s}/{number}" for s, number in self.numbers]

    @property
    def content_key(self) -> str:
        return "recording"

    def segments(self) -> list[Sequence[int]]:
        runs: list[list[int]] = []
        for index, (s, number) in enumerate(self.numbers):
            if not runs or self.numbers[index - 1] != (s, number - 1):
                runs.append([])
            runs[-1].append(index)
        return list(runs)


def test_a_window_joins_frames_along_time():
    windows = WindowedDataset(Recording([[0, 1, 2, 3]]), Window(2, stride=2))
    assert len(windows) == 2
    sample = windows[1]
    assert sample.index.tolist() == [1, 3]
    assert sample.image.shape == (2, 3, 4, 4)
    assert sample.keypoints[:, 0, 1].tolist() == [1, 3]
    assert sample.camera.intrinsics.shape == (2, 3, 3)


@given(
    present=st.lists(st.lists(st.booleans(), max_size=30), min_size=1, max_size=6),
    frames=st.integers(1, 6),
    stride=st.integers(1, 4),
    shared=st.none() | st.integers(0, 5),
)
def test_windows_are_exactly_those_without_a_cut(present, frames, stride, shared):
    overlap = None if shared is None else shared % frames
    step = 1 if overlap is None else (frames - overlap) * stride
    numbers = [[n for n, there in enumerate(run) if there] for run in present]
    expected = [
        [(s, start + k * stride) for k in range(frames)]
        for s, run in enumerate(present)
        for start in range(len(run))
        # Every frame from the first to the last is there, also those the stride leaves out.
        if start + (frames - 1) * stride < len(run)
        and all(run[start : start + (frames - 1) * stride + 1])
        and (start - beginning(run, start)) % step == 0
    ]
    dataset = Recording(numbers)
    if not expected:
        with pytest.raises(ValueError, match="window"):
            WindowedDataset(dataset, Window(frames, stride, overlap))
        return
    windows = WindowedDataset(dataset, Window(frames, stride, overlap))
    found = [[dataset.numbers[i] for i in windows[w].index.tolist()] for w in range(len(windows))]
    assert found == expected
    recordings = sorted({frames[0][0] for frames in expected})
    assert windows.recordings.tolist() == [recordings.index(frames[0][0]) for frames in expected]


def beginning(run: list[bool], frame: int) -> int:
    """The first frame of the unbroken run that ``frame`` is in."""
    while frame > 0 and run[frame - 1]:
        frame -= 1
    return frame


def test_a_dataset_in_another_order_than_time():
    class Shuffled(Recording):
        def segments(self) -> list[Sequence[int]]:
            return [[2, 0, 1], [3]]

    windows = WindowedDataset(Shuffled([[0, 1, 2, 3]]), Window(2))
    assert [windows[i].index.tolist() for i in range(len(windows))] == [[2, 0], [0, 1]]


def test_single_frames_need_no_sequences():
    class Loose(Recording):
        segments = HandDataset.segments

    assert len(WindowedDataset(Loose([[0, 1, 2]]), Window())) == 3


def test_a_window_longer_than_every_sequence_names_the_lengths():
    with pytest.raises(
        ValueError, match=r"window of 3 frames, 2 apart, spans 5 frames; .* 2 runs .* has 4"
    ):
        WindowedDataset(Recording([[0, 1, 2, 3], [0, 1]]), Window(3, stride=2))
