"""Detections of several hands in one recording, format ``s2hand.detections/2``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from s2hand.data.detections.base import SIDES, Detections
from s2hand.data.detections.rows import distinct_names, image_size, keypoint_row
from s2hand.files.json import write_json
from s2hand.geometry.skeleton import NUM_JOINTS

logger = logging.getLogger(__name__)

TRACKS_SCHEMA = "s2hand.detections/2"


@dataclass(frozen=True)
class TrackInfo:
    """A hand in a file of detections."""

    track: int
    """Number in the file."""
    side: str | None
    """``right`` or ``left``, if the file records it."""
    frames: int
    """Number of frames with a detection."""
    confidence: float
    """Mean over the keypoints of these frames."""

    @property
    def total(self) -> float:
        """Confidence summed over frames; tracks are sorted by it."""
        return self.frames * self.confidence

    def __str__(self) -> str:
        side = f"{self.side} hand" if self.side else "hand"
        return f"track {self.track}: {side}, {self.frames} frames, confidence {self.confidence:.2f}"


@dataclass(frozen=True)
class TrackKeypoints:
    """A hand to write."""

    side: str
    positions: Sequence[int]
    """Indices into all frame names, of the frames with a detection."""
    keypoints: Float[np.ndarray, "n 21 2"]
    """Pixels of the upright frame, pixel centres at integers."""
    confidence: Float[np.ndarray, "n 21"]
    """0..1."""


def track_info(number: int, side: str | None, confidence: Float[np.ndarray, "n 21"]) -> TrackInfo:
    """Summary of a hand with these confidences; frames without confidence are not counted."""
    trusted = np.where(np.isfinite(confidence), confidence, 0).clip(0, 1)
    seen = trusted[(trusted > 0).any(-1)]
    return TrackInfo(number, side, len(seen), float(seen.mean()) if len(seen) else 0.0)


def write_tracks(
    path: str | Path,
    names: Sequence[str],
    tracks: Sequence[TrackKeypoints],
    image_size: tuple[int, int] | None,
    source: str,
    detector: str,
) -> list[TrackInfo]:
    """Write all hands (docs/formats.md), the most confident first; returns their summaries.

    Args:
        path: the JSON file.
        names: names of all processed frames, including those without a hand.
        tracks: the hands.
        image_size: (width, height) of the frames; None if they differ.
        source: name of the recording.
        detector: name of the detector.
    """
    infos = [track_info(0, track.side, track.confidence) for track in tracks]
    order = sorted(range(len(tracks)), key=lambda i: -infos[i].total)
    content = {
        "schema": TRACKS_SCHEMA,
        "source": source,
        "detector": detector,
        "image_size": image_size and list(image_size),
        "frames": list(names),
        "tracks": [
            {"track": number, "side": tracks[i].side, "frames": _frames(names, tracks[i])}
            for number, i in enumerate(order)
        ],
    }
    write_json(path, content, indent=None)
    return track_infos(Path(path), content)


def track_infos(path: Path, content: dict[str, Any]) -> list[TrackInfo]:
    """Summaries of all hands in a file's content, in its order."""
    _, tracks = _parts(path, content)
    return [
        track_info(track["track"], track["side"], _rows(path, track)[..., 2]) for track in tracks
    ]


def read_track_detections(
    path: Path, content: dict[str, Any], side: str, number: int | None
) -> Detections:
    """The detections of one hand in every frame; see ``read_detections``."""
    names, tracks = _parts(path, content)
    track = _chosen(path, tracks, side, number)
    position = {name: i for i, name in enumerate(names)}
    seen = distinct_names(path, [frame["name"] for frame in track["frames"]])
    unknown = next((name for name in seen if name not in position), None)
    if unknown is not None:
        raise ValueError(
            f"{path}: track {track['track']} names {unknown!r}, which is not in 'frames'"
        )
    rows = np.zeros((len(names), NUM_JOINTS, 3))
    rows[[position[name] for name in seen]] = _rows(path, track)
    return Detections(
        names=names,
        keypoints=rows[..., :2],
        confidence=rows[..., 2],
        image_size=image_size(path, content.get("image_size")),
        side=track["side"],
        source=str(path),
    )


def _frames(names: Sequence[str], track: TrackKeypoints) -> list[dict[str, Any]]:
    rows = np.concatenate([track.keypoints, track.confidence[..., None]], -1).round(4)
    return [
        {"name": names[position], "keypoints": row.tolist()}
        for position, row in zip(track.positions, rows, strict=True)
    ]


def _parts(path: Path, content: dict[str, Any]) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """Names of all frames, and the tracks; their structure is validated, their keypoints not."""
    frames, tracks = content.get("frames"), content.get("tracks")
    if not isinstance(frames, list) or not isinstance(tracks, list):
        raise ValueError(f"{path}: 'frames' must be a list of names, 'tracks' one of hands")
    for track in tracks:
        whole = isinstance(track, dict) and isinstance(track.get("track"), int)
        rows = track.get("frames") if whole else None
        if (
            not isinstance(rows, list)
            or track.get("side") not in SIDES
            or not all(isinstance(row, dict) and "name" in row for row in rows)
        ):
            raise ValueError(
                f"{path}: a track is {{'track': number, 'side': 'right' or 'left', 'frames': "
                "[{'name': ..., 'keypoints': ...}]}"
            )
    if len({track["track"] for track in tracks}) < len(tracks):
        raise ValueError(f"{path}: two tracks have the same number")
    return distinct_names(path, frames), tracks


def _rows(path: Path, track: dict[str, Any]) -> Float[np.ndarray, "n 21 3"]:
    rows = [keypoint_row(path, f["name"], f.get("keypoints"), 3) for f in track["frames"]]
    return np.array(rows).reshape(-1, NUM_JOINTS, 3)


def _chosen(
    path: Path, tracks: Sequence[dict[str, Any]], side: str, number: int | None
) -> dict[str, Any]:
    """The requested track, else the first of the side."""
    held = ", ".join(f"track {t['track']} ({t['side']})" for t in tracks) or "no hand"
    if number is not None:
        named = [track for track in tracks if track["track"] == number]
        if not named:
            raise ValueError(f"track={number}: {path} holds {held}")
        if named[0]["side"] != side:
            other = named[0]["side"]
            raise ValueError(f"{path}: track {number} is a {other} hand; give side={other}")
        return named[0]
    fitting = [track for track in tracks if track["side"] == side]
    if not fitting:
        remedy = f"; give side={tracks[0]['side']}" if tracks else ""
        raise ValueError(f"{path} holds no {side} hand, but {held}{remedy}")
    if len(fitting) > 1:
        others = ", ".join(f"track={track['track']}" for track in fitting[1:])
        logger.warning(
            "%s: using track %d of %d %s hands; others: %s",
            path, fitting[0]["track"], len(fitting), side, others,
        )  # fmt: skip
    return fitting[0]
