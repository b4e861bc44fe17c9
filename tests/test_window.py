"""Windows: what they span and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2hand.window import Window


@given(frames=st.integers(1, 50), stride=st.integers(1, 20))
def test_span_counts_first_to_last(frames: int, stride: int) -> None:
    positions = [stride * i for i in range(frames)]
    assert Window(frames, stride).span == positions[-1] - positions[0] + 1


def test_an_image_is_a_window_of_one() -> None:
    assert Window() == Window(frames=1, stride=1)
    assert Window().span == 1


@pytest.mark.parametrize(("frames", "stride"), [(0, 1), (1, 0), (-3, 2)])
def test_empty_windows_are_refused(frames: int, stride: int) -> None:
    with pytest.raises(ValueError, match=rf"frames={frames}, stride={stride}\): both"):
        Window(frames, stride)


@pytest.mark.parametrize("overlap", [-1, 4, 9])
def test_windows_share_fewer_frames_than_they_have(overlap: int) -> None:
    with pytest.raises(ValueError, match=rf"frames=4, overlap={overlap}\): .* 0 to 3 frames"):
        Window(4, overlap=overlap)


def test_the_step_leaves_the_overlap() -> None:
    assert Window(5).step == 1
    assert Window(5, overlap=0).step == 5
    assert Window(5, stride=2, overlap=3).step == 4
