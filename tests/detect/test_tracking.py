"""Hands of frames become tracks: through gaps, mistaken sides, and beside other hands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2hand.detect.hands import FoundHand, Side, hand_size
from s2hand.detect.tracking import HandTrack, by_side, distance, distinct, follow, of_sides

SHAPE = np.random.default_rng(0).uniform(0, 100, (21, 2))


def hand(x: float, y: float = 0.0, side: Side = "right", score: float = 0.9) -> FoundHand:
    """A hand of about 200 pixels at a place."""
    return FoundHand(SHAPE + np.array([x, y]), side, score)


def moving(frames: int, start: float = 0, step: float = 5, side: Side = "right") -> list[FoundHand]:
    return [hand(start + step * i, side=side) for i in range(frames)]


def places(track: HandTrack) -> list[float]:
    return [float(h.keypoints[0, 0] - SHAPE[0, 0]) for h in track.hands]


def test_one_hand_is_one_track() -> None:
    (track,) = follow([[h] for h in moving(20)])
    assert track.frames == list(range(20))
    assert track.side == "right"


@given(st.sets(st.integers(0, 39), max_size=30), st.randoms(use_true_random=False))
def test_gaps_and_mistaken_sides_do_not_split_it(gaps: set[int], random: object) -> None:
    """Frames without the hand, and a third of the frames called the other one."""
    frames: list[list[FoundHand]] = []
    for i, h in enumerate(moving(40)):
        side: Side = "left" if i % 3 == 1 else "right"
        frames.append([] if i in gaps else [replace(h, side=side)])
    seen = [i for i in range(40) if i not in gaps]
    tracks = follow(frames, min_frames=1)
    assert sorted(f for t in tracks for f in t.frames) == seen
    if max(np.diff([-1, *seen, 40]), default=0) <= 5 and len(seen) >= 10:
        (track,) = tracks
        assert track.side == "right"


@given(st.randoms(use_true_random=False))
def test_the_order_within_a_frame_does_not_matter(random: object) -> None:
    """Two hands, side by side, in any order."""
    frames = [[a, b] for a, b in zip(moving(12), moving(12, 600, side="left"), strict=True)]
    for frame in frames:
        random.shuffle(frame)  # type: ignore[attr-defined]
    right, left = sorted(follow(frames), key=lambda t: t.side, reverse=True)
    assert (right.side, left.side) == ("right", "left")
    assert places(right) == pytest.approx([5 * i for i in range(12)])
    assert places(left) == pytest.approx([600 + 5 * i for i in range(12)])


def test_hands_that_pass_each_other_keep_their_sides() -> None:
    """They meet in the middle, 60 pixels above each other."""
    frames = []
    for i in range(31):
        frames.append([hand(20 * i), hand(600 - 20 * i, 60, side="left")])
    tracks = {track.side: track for track in follow(frames)}
    assert places(tracks["right"]) == pytest.approx([20 * i for i in range(31)])
    assert places(tracks["left"]) == pytest.approx([600 - 20 * i for i in range(31)])


def test_two_right_hands_at_a_time_are_two_people() -> None:
    frames = [[a, b] for a, b in zip(moving(10), moving(10, 700), strict=True)]
    assert [len(track.frames) for track in follow(frames)] == [10, 10]


def test_a_hand_that_comes_back_elsewhere_is_the_same() -> None:
    frames = [[h] for h in moving(10)] + [[]] * 40 + [[h] for h in moving(10, 900)]
    (track,) = follow(frames)
    assert track.frames == [*range(10), *range(50, 60)]


def test_a_hand_that_comes_beside_another_is_a_new_one() -> None:
    """The first goes while the second is there: a picture does not show whose the third is."""
    frames = [[h] for h in moving(60, 900)]
    for i in range(10):
        frames[i].append(hand(0))
        frames[40 + i].append(hand(0))
    assert sorted(len(track.frames) for track in follow(frames)) == [10, 10, 60]


spans = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 25)), min_size=1, max_size=6)


@given(spans)
def test_only_hands_that_were_alone_come_back(spans: list[tuple[int, int]]) -> None:
    """Right hands at different places: a track continues elsewhere only if none is beside."""
    seen = [range(begin, begin + length) for begin, length in spans]
    total = max(span.stop for span in seen)
    frames = [
        [hand(1000 * k) for k, span in enumerate(seen) if number in span] for number in range(total)
    ]
    tracks = follow(frames, min_frames=1)
    found = [(f, round(x / 1000)) for t in tracks for f, x in zip(t.frames, places(t), strict=True)]
    assert sorted(found) == sorted((f, k) for k, span in enumerate(seen) for f in span)
    for track in tracks:
        assert (np.diff(track.frames) > 0).all()
        way = [round(x / 1000) for x in places(track)]
        for i in np.flatnonzero(np.diff(way)):
            gone, back = track.frames[i], track.frames[i + 1]
            meanwhile = {k for number in range(gone + 1, back + 1) for k, span in enumerate(seen)
                         if number in span}  # fmt: skip
            assert meanwhile == {way[i + 1]}, "another hand was in sight"
    if max(map(len, frames)) == 1:
        assert len(tracks) == 1


def test_hands_seen_too_briefly_are_dropped() -> None:
    frames = [[h] for h in moving(20)]
    frames[7] = [*frames[7], hand(900, side="left")]
    assert [track.side for track in follow(frames)] == ["right"]
    assert len(follow([[hand(0)], [hand(2)]])) == 1  # but a short video has no longer track


def test_nothing_gives_nothing() -> None:
    assert follow([]) == follow([[], []]) == by_side([]) == []


def test_one_hand_found_twice_is_one() -> None:
    surer, other = hand(0, score=0.95), hand(4, side="left", score=0.6)
    assert distinct([other, surer]) == [surer]


def test_the_distance_is_a_fraction_of_the_size() -> None:
    assert distance(hand(0), hand(30)) == pytest.approx(30 / hand_size(SHAPE))


def test_pictures_give_a_first_and_a_second_hand_of_each_side() -> None:
    frames = [
        [hand(0, score=0.7), hand(500, score=0.9), hand(0, 600, side="left")],
        [],
        [hand(0)],
    ]
    first, second, left = sorted(
        by_side(frames), key=lambda t: (t.side == "left", t.frames != [0, 2])
    )
    assert (first.frames, places(first)) == ([0, 2], pytest.approx([500, 0]))
    assert (second.frames, places(second)) == ([0], pytest.approx([0]))
    assert (left.side, left.frames) == ("left", [0])


def test_the_best_hand_of_each_wanted_side() -> None:
    left, sure = hand(0, side="left", score=0.7), hand(300, score=0.9)
    unsure = hand(600, score=0.6)
    hands = [unsure, left, sure]
    assert of_sides(hands, ["left", "right"]) == [left, sure]
    assert of_sides([sure], ["left", "right"]) == [None, sure]
    assert of_sides([unsure, sure], ["left"]) == [sure]  # one hand, taken for the other one
    assert of_sides([], ["left"]) == [None]


def test_sides_decide_between_hands_that_are_equally_near() -> None:
    """Both move 60 pixels; swapped they would move 10."""
    frames = [[hand(0, 0), hand(0, 70, side="left")], [hand(0, 60), hand(0, 10, side="left")]]
    tracks = follow(frames, min_frames=1)
    assert sorted([h.side for h in track.hands] for track in tracks) == [
        ["left"] * 2,
        ["right"] * 2,
    ]


@pytest.mark.parametrize(("missed", "tracks"), [(0, 3), (2, 3), (5, 2)])
def test_an_unseen_hand_may_have_moved_further(missed: int, tracks: int) -> None:
    """By 0.9 of its size, beside another right hand, so that coming back does not count."""
    way = 0.9 * float(hand_size(SHAPE))
    frames = [[hand(3000)] for _ in range(10 + missed)]
    for number in range(5):
        frames[number].append(hand(0))
        frames[5 + missed + number].append(hand(way))
    assert len(follow(frames)) == tracks


def test_confident_frames_decide_the_side() -> None:
    looks = [("left", 0.9), ("right", 0.3), ("right", 0.3), ("left", 0.9), ("right", 0.3)]
    (track,) = follow([[hand(0, side=side, score=score)] for side, score in looks])
    assert track.side == "left"
