"""Hands of single frames, joined over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from s2hand.detect.hands import FoundHand, Side, hand_size

_REACH = 0.6  # mean way of the joints from one frame to the next, as a share of the hand's size
_REACH_PER_FRAME = 0.1  # and for every frame in which the hand was not seen
_MAX_GAP = 15  # frames without the hand after which the way says nothing
_OTHER_SIDE = 0.3  # what being called the other hand counts, beside the way
_SAME_HAND = 0.2  # two hands of one frame that are nearer than this are one


@dataclass
class HandTrack:
    """One hand through the frames in which it was seen."""

    frames: list[int] = field(default_factory=list)
    """Positions, increasing."""
    hands: list[FoundHand] = field(default_factory=list)
    """One for each of them."""
    votes: float = 0.0
    """Scores of the frames that call it the right hand, less those of the others."""

    @property
    def side(self) -> Side:
        """Which hand it is, by the votes of all its frames: single frames are mistaken."""
        return "right" if self.votes >= 0 else "left"

    def add(self, frame: int, hand: FoundHand) -> None:
        """Seen again."""
        self.frames.append(frame)
        self.hands.append(hand)
        self.votes += hand.score if hand.side == "right" else -hand.score


def follow(frames: Sequence[Sequence[FoundHand]], min_frames: int = 3) -> list[HandTrack]:
    """Hands of the frames of a video, joined over time; the one seen most comes first.

    A hand goes on where one lies near in the next frames (optimal assignment by the mean way of
    its joints). One that comes into sight while no other of its side is there is taken for the
    hand of that side that was seen last, come back, as far as a picture can tell; beside another
    one it is a new hand. What is seen in fewer than ``min_frames`` frames on end is no hand, but
    in a video that has no more.
    """
    pieces: list[HandTrack] = []
    for number, hands in enumerate(frames):
        _extend(pieces, number, distinct(hands))
    least = min(min_frames, len(frames))
    return sorted(
        _rejoined([piece for piece in pieces if len(piece.frames) >= least]),
        key=lambda track: -len(track.frames),
    )


def by_side(frames: Sequence[Sequence[FoundHand]]) -> list[HandTrack]:
    """Hands of pictures that have nothing to do with each other: first, second, ... of each side.

    The surest of a picture comes first.
    """
    tracks: dict[tuple[Side, int], HandTrack] = {}
    for number, hands in enumerate(frames):
        seen: dict[Side, int] = {}
        for hand in sorted(distinct(hands), key=lambda hand: -hand.score):
            rank = seen[hand.side] = seen.get(hand.side, -1) + 1
            tracks.setdefault((hand.side, rank), HandTrack()).add(number, hand)
    return sorted(tracks.values(), key=lambda track: -len(track.frames))


def of_sides(hands: Sequence[FoundHand], wanted: Sequence[Side]) -> list[FoundHand | None]:
    """The surest hand of each wanted side, None where there is none.

    Where one hand alone is wanted it is known to be the one in the picture: a detector that takes
    it for the other side is wrong about the side, and its surest hand is given.
    """
    surest = sorted(distinct(hands), key=lambda hand: -hand.score)
    found = [next((hand for hand in surest if hand.side == side), None) for side in wanted]
    if found == [None] and surest:
        return [surest[0]]
    return found


def distinct(hands: Sequence[FoundHand]) -> list[FoundHand]:
    """Without the less sure of two that lie on each other: detectors see one hand twice."""
    kept: list[FoundHand] = []
    for hand in sorted(hands, key=lambda hand: -hand.score):
        if all(way(hand, other) > _SAME_HAND for other in kept):
            kept.append(hand)
    return kept


def way(hand: FoundHand, other: FoundHand) -> float:
    """Mean distance of the joints of two hands, as a share of the larger one's size."""
    size = max(hand_size(hand.keypoints), hand_size(other.keypoints), 1e-6)
    return float(np.linalg.norm(hand.keypoints - other.keypoints, axis=-1).mean() / size)


def _extend(pieces: list[HandTrack], number: int, hands: Sequence[FoundHand]) -> None:
    """Give each hand of a frame to the piece that it goes on with, or begin one."""
    alive = [piece for piece in pieces if number - piece.frames[-1] <= _MAX_GAP]
    costs = np.array([[_cost(piece, number, hand) for piece in alive] for hand in hands])
    taken = set()
    if costs.size:
        rows, columns = linear_sum_assignment(np.minimum(costs, 1e3))
        for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
            if np.isfinite(costs[i, j]):
                alive[j].add(number, hands[i])
                taken.add(i)
    for i, hand in enumerate(hands):
        if i not in taken:
            pieces.append(HandTrack())
            pieces[-1].add(number, hand)


def _cost(piece: HandTrack, number: int, hand: FoundHand) -> float:
    """How little a hand fits a piece; infinite where it cannot."""
    missed = number - piece.frames[-1] - 1
    moved = way(hand, piece.hands[-1])
    if moved > _REACH + _REACH_PER_FRAME * missed:
        return float("inf")
    return moved + (_OTHER_SIDE if hand.side != piece.side else 0.0)


def _rejoined(pieces: Sequence[HandTrack]) -> list[HandTrack]:
    """Tracks of one piece or of several, each of which comes when the one before is gone."""
    tracks: list[HandTrack] = []
    spans = [(piece.side, piece.frames[0], piece.frames[-1]) for piece in pieces]
    for i in sorted(range(len(pieces)), key=lambda i: spans[i][1]):
        side, begin, _ = spans[i]
        beside = any(
            other == side and first <= begin <= last
            for j, (other, first, last) in enumerate(spans) if j != i
        )  # fmt: skip
        gone = [t for t in tracks if t.side == side and t.frames[-1] < begin]
        if gone and not beside:
            last_seen = max(gone, key=lambda track: track.frames[-1])
            for frame, hand in zip(pieces[i].frames, pieces[i].hands, strict=True):
                last_seen.add(frame, hand)
        else:
            tracks.append(pieces[i])
    return tracks
