"""Files of 2D detections: OpenPose folders, the published S2HAND JSON, and this package's JSON.

All are read as :class:`~s2hand.data.detections.base.Detections`; no format can execute code.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from s2hand.data.detections.base import SIDES, Detections
from s2hand.data.detections.rows import checksums, distinct_names, image_size, keypoint_row
from s2hand.data.detections.tracks import (
    TRACKS_SCHEMA,
    TrackInfo,
    read_track_detections,
    track_info,
    track_infos,
)
from s2hand.files.json import read_json, write_json
from s2hand.geometry.skeleton import NUM_JOINTS

SCHEMA = "s2hand.detections/1"


def read_detections(path: str | Path, side: str = "right", track: int | None = None) -> Detections:
    """Read an OpenPose folder, the published S2HAND JSON or this package's JSON.

    The format is recognised by its content.

    Args:
        path: the file or folder.
        side: the hand to read from OpenPose files and tracks; must match a file's recorded side.
        track: the number of the hand (:func:`list_tracks`). None is the first of the side, with a
            warning that names the others. In an OpenPose folder 0 is the right hand and 1 the
            left; a file of one hand has track 0.

    Raises:
        FileNotFoundError: if the file or folder is missing.
        ValueError: naming the file, the value and the remedy.
    """
    path = Path(path)
    if side not in SIDES:
        raise ValueError(f"side={side!r}; use 'right' or 'left'")
    if not path.is_dir() and not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such detection file or folder; give 2D keypoints per frame: the JSON of "
            "s2hand-detect, the JSON of S2HAND, or an OpenPose folder"
        )
    content = None if path.is_dir() else read_json(path)
    if isinstance(content, dict) and content.get("schema") == TRACKS_SCHEMA:
        return read_track_detections(path, content, side, track)
    if content is None:
        if track not in (None, SIDES.index(side)):
            raise ValueError(
                f"track={track}, side={side}: in an OpenPose folder like {path} the right hand is "
                "track 0 and the left hand track 1; leave track out"
            )
        return _read_openpose(path, side)
    if track:
        raise ValueError(f"track={track}: {path} holds one hand; leave track out")
    if isinstance(content, dict):
        return _read_package_json(path, content, side)
    if isinstance(content, list) and len(content) == 3:
        return _read_published(path, content)
    raise ValueError(
        f"{path}: neither {SCHEMA!r} nor the S2HAND format [xy, confidences, names]; "
        "for OpenPose give the folder of its JSON files"
    )


def list_tracks(path: str | Path) -> list[TrackInfo]:
    """All hands in a file or folder of detections, the most confident first.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_detections`.
    """
    path = Path(path)
    content = read_json(path) if path.is_file() else None
    if isinstance(content, dict) and content.get("schema") == TRACKS_SCHEMA:
        return track_infos(path, content)
    if content is None:
        found = [(number, read_detections(path, side)) for number, side in enumerate(SIDES)]
    else:
        side = content.get("side") if isinstance(content, dict) else None
        found = [(0, read_detections(path, side if side in SIDES else SIDES[0]))]
    infos = [track_info(number, one.side, one.confidence) for number, one in found]
    return sorted((info for info in infos if info.frames), key=lambda info: -info.total)


def write_detections(path: str | Path, detections: Detections) -> None:
    """Write this package's JSON (docs/formats.md); numbers are rounded to 4 decimals."""
    rows = np.concatenate([detections.keypoints, detections.confidence[..., None]], -1).round(4)
    frames = [
        {"name": name, "keypoints": row.tolist() if row[:, 2].any() else []}
        for name, row in zip(detections.names, rows, strict=True)
    ]
    if detections.image_sha256 is not None:
        for frame, digest in zip(frames, detections.image_sha256, strict=True):
            frame |= {"sha256": digest.tobytes().hex()} if digest.any() else {}
    content = {
        "schema": SCHEMA,
        "side": detections.side,
        "image_size": detections.image_size and list(detections.image_size),
        "frames": frames,
    }
    write_json(path, content, indent=None)


def _read_package_json(path: Path, content: dict[str, Any], side: str) -> Detections:
    if content.get("schema") != SCHEMA:
        raise ValueError(f"{path}: schema {content.get('schema')!r}, expected {SCHEMA!r}")
    frames = content.get("frames")
    if not isinstance(frames, list) or not all(isinstance(f, dict) and "name" in f for f in frames):
        raise ValueError(f"{path}: 'frames' must be a list of {{'name': ..., 'keypoints': ...}}")
    if content.get("side") not in (None, side):
        raise ValueError(f"{path} holds {content['side']} hands; give side={content['side']!r}")
    names = distinct_names(path, [frame["name"] for frame in frames])
    rows = [
        keypoint_row(path, n, f.get("keypoints"), 3) for n, f in zip(names, frames, strict=True)
    ]
    xyc = np.array(rows).reshape(-1, NUM_JOINTS, 3)
    return Detections(
        names=names,
        keypoints=xyc[..., :2],
        confidence=xyc[..., 2],
        image_size=image_size(path, content.get("image_size")),
        side=content.get("side"),
        source=str(path),
        image_sha256=checksums(path, names, [frame.get("sha256") for frame in frames]),
    )


def _read_published(path: Path, content: list[Any]) -> Detections:
    """``[xy (n x 21 x 2), confidence (n x 21 x 1), names]``; a name may be a list of one."""
    lengths = [len(part) if isinstance(part, list) else -1 for part in content]
    if len(set(lengths)) != 1 or lengths[0] < 0:
        raise ValueError(
            f"{path}: {lengths} keypoints, confidences and names; the numbers must be equal"
        )
    names = distinct_names(path, [n[0] if isinstance(n, list) and n else n for n in content[2]])
    xy = [keypoint_row(path, name, row, 2) for name, row in zip(names, content[0], strict=True)]
    confidence = [
        keypoint_row(path, name, row, 1) for name, row in zip(names, content[1], strict=True)
    ]
    return Detections(
        names=names,
        keypoints=np.array(xy).reshape(-1, NUM_JOINTS, 2),
        confidence=np.array(confidence).reshape(-1, NUM_JOINTS),
        source=str(path),
    )


def _read_openpose(folder: Path, side: str) -> Detections:
    """One JSON per frame; of several people, the hand of this side with the highest confidence.

    Names include the subfolder: ``ABF10/0001_keypoints.json`` is ABF10/0001.
    """
    files = sorted(folder.rglob("*.json"))
    if not files:
        raise ValueError(f"{folder}: no .json file; run OpenPose with --hand --write_json {folder}")
    key = f"hand_{side}_keypoints_2d"
    rows = []
    for file in files:
        content = read_json(file)
        people = content.get("people") if isinstance(content, dict) else None
        if not isinstance(people, list) or not all(isinstance(p, dict) for p in people):
            raise ValueError(f"{file}: no list 'people'; is this an OpenPose file?")
        hands = [keypoint_row(file, key, person.get(key), 3) for person in people]
        rows.append(max(hands, key=_total_confidence, default=np.zeros((NUM_JOINTS, 3))))
    xyc = np.array(rows)
    paths = [file.relative_to(folder).with_suffix("").as_posix() for file in files]
    names = distinct_names(folder, [path.removesuffix("_keypoints") for path in paths])
    return Detections(names, xyc[..., :2], xyc[..., 2], side=side, source=str(folder))


def _total_confidence(hand: Float[np.ndarray, "21 3"]) -> float:
    return math.fsum(c for c in hand[:, 2].tolist() if math.isfinite(c))
