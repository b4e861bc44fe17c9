"""The size of a hand is the length of its longest finger, bent or straight."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2hand.detect.hands import hand_size


@given(st.lists(st.floats(0, 6.28), min_size=20, max_size=20))
def test_it_is_the_longest_path_from_the_wrist_to_a_tip(angles: list[float]) -> None:
    """Bones of 1, 2, ... 5 pixels in the five fingers, four in each, at any angles."""
    lengths = np.repeat(np.arange(1.0, 6.0), 4)
    bones = np.stack([lengths * np.cos(angles), lengths * np.sin(angles)], -1).reshape(5, 4, 2)
    wrist = np.array([40.0, 30.0])
    hand = np.concatenate([[wrist], (wrist + bones.cumsum(1)).reshape(20, 2)])
    assert float(hand_size(hand)) == pytest.approx(4 * 5)
    assert hand_size(np.stack([hand, 3 * hand])) == pytest.approx([20, 60])
