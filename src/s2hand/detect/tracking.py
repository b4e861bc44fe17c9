"""Tracking: hands of single frames are joined over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from s2hand.detect.hands import FoundHand, Side, hand_size

_REACH = 0.6  # mean motion of the joints between frames, as a fraction of the hand's size
_REACH_PER_FRAME = 0.1  # added for every frame in which the hand was not seen
_MAX_GAP = 15  # frames without the hand after which its distance is no evidence
_OTHER_SIDE = 0.3  # cost of a different detected side, added to the distance
_SAME_HAND = 0.2  # two detections in one frame nearer than this are the same hand


@dataclass
class HandTrack:
    """One hand over the frames in which it was seen."""

    frames: list[int] = field(default_factory=list)
    """Frame numbers, increasing."""
    hands: list[FoundHand] = field(default_factory=list)
    """One per frame."""
    votes: float = 0.0
    """Sum of the scores of 'right' detections minus that of 'left' ones."""

    @property
    def side(self) -> Side:
        """The side by the votes of all frames, because single frames can be wrong."""
        return "right" if self.votes >= 0 else "left"

    def add(self, frame: int, hand: FoundHand) -> None:
        """Append the hand as seen in a later frame."""
        self.frames.append(frame)
        self.hands.append(hand)
        self.votes += hand.score if hand.side == "right" else -hand.score


def follow(frames: Sequence[Sequence[FoundHand]], min_frames: int = 3) -> list[HandTrack]:
    """Hands of the frames of a video, joined over time; the most often seen comes first.

    A hand continues with a nearby detection in the next frames (optimal assignment by the mean
    distance of the joints). A hand that appears while no other of its side is visible is taken for
    the last seen hand of that side; beside another hand of its side it is a new one. Detections
    that last fewer than ``min_frames`` consecutive frames are dropped, unless the video is shorter.
    """
    pieces: list[HandTrack] = []
    for number, hands in enumerate(frames):
        _extend(pieces, number, distinct(hands))
    # Short pieces are false detections; a hand that reappears joins its earlier track.
    least = min(min_frames, len(frames))
    return sorted(
        _rejoined([piece for piece in pieces if len(piece.frames) >= least]),
        key=lambda track: -len(track.frames),
    )


def by_side(frames: Sequence[Sequence[FoundHand]]) -> list[HandTrack]:
    """Hands of unrelated pictures: the first, second, ... of each side form a track.

    Within a picture they are sorted by score, the highest first.
    """
    tracks: dict[tuple[Side, int], HandTrack] = {}
    for number, hands in enumerate(frames):
        seen: dict[Side, int] = {}
        for hand in sorted(distinct(hands), key=lambda hand: -hand.score):
            rank = seen[hand.side] = seen.get(hand.side, -1) + 1
            tracks.setdefault((hand.side, rank), HandTrack()).add(number, hand)
    return sorted(tracks.values(), key=lambda track: -len(track.frames))


def of_sides(hands: Sequence[FoundHand], wanted: Sequence[Side]) -> list[FoundHand | None]:
    """The hand with the highest score of each wanted side, None where there is none.

    If a single hand is wanted, the picture is known to show it: a detection of the other side only
    has the side wrong, so the hand with the highest score is returned.
    """
    ranked = sorted(distinct(hands), key=lambda hand: -hand.score)
    found = [next((hand for hand in ranked if hand.side == side), None) for side in wanted]
    if found == [None] and ranked:
        return [ranked[0]]
    return found


def distinct(hands: Sequence[FoundHand]) -> list[FoundHand]:
    """The hands without duplicates (a detector may find one hand twice): the best score stays."""
    kept: list[FoundHand] = []
    for hand in sorted(hands, key=lambda hand: -hand.score):
        if all(distance(hand, other) > _SAME_HAND for other in kept):
            kept.append(hand)
    return kept


def distance(hand: FoundHand, other: FoundHand) -> float:
    """Mean distance of the joints of two hands, as a fraction of the larger hand's size."""
    size = max(hand_size(hand.keypoints), hand_size(other.keypoints), 1e-6)
    return float(np.linalg.norm(hand.keypoints - other.keypoints, axis=-1).mean() / size)


def _extend(pieces: list[HandTrack], number: int, hands: Sequence[FoundHand]) -> None:
    """Append each hand of a frame to the piece that it continues, or start a new piece."""
    alive = [piece for piece in pieces if number - piece.frames[-1] <= _MAX_GAP]
    # Optimal assignment; infinite costs are capped for the solver and refused afterwards.
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
    """Cost of continuing a piece with a hand; infinite where it is out of reach."""
    missed = number - piece.frames[-1] - 1
    moved = distance(hand, piece.hands[-1])
    if moved > _REACH + _REACH_PER_FRAME * missed:
        return float("inf")
    return moved + (_OTHER_SIDE if hand.side != piece.side else 0.0)


def _rejoined(pieces: Sequence[HandTrack]) -> list[HandTrack]:
    """Tracks made of pieces: a piece that begins after another of its side ended continues it."""
    tracks: list[HandTrack] = []
    spans = [(piece.side, piece.frames[0], piece.frames[-1]) for piece in pieces]
    for i in sorted(range(len(pieces)), key=lambda i: spans[i][1]):
        side, begin, _ = spans[i]
        # Another hand of this side is visible when the piece begins.
        beside = any(
            other == side and first <= begin <= last
            for j, (other, first, last) in enumerate(spans) if j != i
        )  # fmt: skip
        # Continue the track of this side that was seen last.
        gone = [t for t in tracks if t.side == side and t.frames[-1] < begin]
        if gone and not beside:
            last_seen = max(gone, key=lambda track: track.frames[-1])
            for frame, hand in zip(pieces[i].frames, pieces[i].hands, strict=True):
                last_seen.add(frame, hand)
        else:
            tracks.append(pieces[i])
    return tracks
