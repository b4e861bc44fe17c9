"""Detection on a video or on pictures: hands are found, tracked, given confidences, and written."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from s2hand.data.detections.files import TrackInfo
from s2hand.data.detections.tracks import TRACKS_SCHEMA, TrackKeypoints, write_tracks
from s2hand.data.frames.sources import IMAGE_SUFFIXES
from s2hand.detect.confidence import PICTURE_CHANGES
from s2hand.detect.mediapipe import version
from s2hand.detect.model import find_model
from s2hand.detect.search import search
from s2hand.detect.source_frames import SourceFrames
from s2hand.detect.tracking import HandTrack, by_side, follow
from s2hand.files.folders import check_writable
from s2hand.files.json import read_json_object
from s2hand.files.outputs import Input, InputFolder, check_file
from s2hand.files.progress import progress

_log = logging.getLogger(__name__)


def detect(
    source: Path,
    out: Path,
    *,
    model: Path | None = None,
    hands: int = 2,
    sequence: bool | None = None,
) -> list[TrackInfo]:
    """Find the hands of a video or of pictures and write them; return the tracks written.

    Args:
        source: a video, a picture, or a folder of pictures.
        out: the JSON to write.
        model: path of ``hand_landmarker.task``; by default that of :func:`find_model`.
        hands: maximum number in one frame.
        sequence: whether the pictures are consecutive in time; by default only for a video.

    Raises:
        ValueError: if no hand is found; the file is written nevertheless, without tracks.
        FileNotFoundError, ValueError: naming the file that cannot be read, and the remedy.
    """
    check_output(out, [InputFolder(source, IMAGE_SUFFIXES), model])
    model = find_model(model)
    frames = SourceFrames(source)
    is_clip = frames.is_video if sequence is None else sequence
    doing = f"looking for hands in {source.name}"
    found = list(search(progress(frames, doing, len(frames), "frame"), model, hands, is_clip))
    for problem in frames.broken:
        _log.warning("%s", problem)
    tracks = follow(found) if is_clip else by_side(found)
    infos = write_tracks(
        out, frames.names, [_keypoints(track) for track in tracks],
        next(iter(frames.sizes)) if len(frames.sizes) == 1 else None, source.name,
        f"MediaPipe {version()}, confidence from {len(PICTURE_CHANGES)} views",
    )  # fmt: skip
    if not infos:
        raise ValueError(
            f"{source}: no hand was found in {len(found)} frames ({out} holds none); is one "
            "in sight, upright and not too small? Detections of another tool work, too"
        )
    return infos


def _keypoints(track: HandTrack) -> TrackKeypoints:
    keypoints = np.stack([hand.keypoints for hand in track.hands])
    confidence = np.stack([hand.confidence for hand in track.hands])
    return TrackKeypoints(track.side, track.frames, keypoints, confidence)


def check_output(out: Path, inputs: Iterable[Input] = ()) -> None:
    """Raise ValueError if ``out`` is an input, or a file without detections, not to replace it."""
    check_file(out, inputs, _holds_detections)
    check_writable(out.parent)


def _holds_detections(path: Path) -> bool:
    try:
        schema = str(read_json_object(path).get("schema"))
    except ValueError:
        return False
    return schema.startswith(TRACKS_SCHEMA.partition("/")[0])
