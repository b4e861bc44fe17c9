"""Detection on a published dataset: the labelled hand of every frame of its splits, resumable.

Detection takes hours. Its results are appended to a journal beside the output, one line per
picture, and the same command resumes from there. Every picture is searched independently.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from s2hand.data.base import content_key
from s2hand.data.detections.base import NOT_YET, SIDES, Detections
from s2hand.data.detections.files import write_detections
from s2hand.data.frames.sources import decode_image
from s2hand.data.recorded.formats import FORMATS
from s2hand.detect.confidence import PICTURE_CHANGES
from s2hand.detect.hands import FoundHand, Side
from s2hand.detect.mediapipe import version
from s2hand.detect.model import find_model
from s2hand.detect.recordings import check_output
from s2hand.detect.search import search
from s2hand.detect.tracking import of_sides
from s2hand.files.checksums import read_verified
from s2hand.files.locks import lock_file
from s2hand.files.progress import progress
from s2hand.geometry.skeleton import NUM_JOINTS

_log = logging.getLogger(__name__)

Wanted = Mapping[Path, Sequence[tuple[str, Side]]]
"""Picture -> (name of the row, side) of each hand to detect in it."""
UNKNOWN_SHA256 = 64 * "0"
Rows = dict[str, tuple[list[list[float]], str]]
"""Name -> 21 x (x, y, confidence), empty where no hand was found; SHA-256 of the picture."""


def detect_dataset(
    name: str,
    root: Path,
    splits: Sequence[str],
    chosen: Mapping[str, Any],
    out: Path,
    model: Path | None = None,
) -> tuple[int, int]:
    """Detect the hand in every frame of a dataset's splits and write the detections file.

    Args:
        name: a key of :data:`~s2hand.data.recorded.formats.FORMATS`.
        root: the dataset's folder.
        splits: names of its splits.
        chosen: the dataset's other arguments, such as cameras.
        out: the JSON to write.
        model: path of ``hand_landmarker.task``; by default that of ``find_model``.

    Returns:
        The number of frames with a hand, and of all frames.

    Raises:
        FileNotFoundError, ValueError: naming the file that cannot be read or written, and the
            remedy.
    """
    check_output(out, [model])
    model = find_model(model)
    with lock_file(out.with_name(f".{out.name}.lock")) as free:
        if not free:
            raise ValueError(
                f"{out}: another s2hand-detect is at work on it; wait until it ends, or choose "
                "another file with -o"
            )
        return _detect(root, wanted_hands(name, root, splits, chosen), out, model)


def _detect(root: Path, wanted: Wanted, out: Path, model: Path) -> tuple[int, int]:
    names = [row for rows in wanted.values() for row, _ in rows]
    # The key names the journal: another detector or list of frames begins a new one.
    detector = [version(), hashlib.sha256(model.read_bytes()).hexdigest(), len(PICTURE_CHANGES)]
    key = content_key(names=names, root=str(root.resolve()), detector=detector)
    journal = out.with_name(f".{out.name}.{key}.lines")
    rows = _read_journal(journal)
    if rows:
        _log.warning("resuming: %d of %d hands were searched before", len(rows), len(names))
    remaining = {
        file: hands for file, hands in wanted.items() if any(n not in rows for n, _ in hands)
    }
    with journal.open("a", encoding="utf-8") as lines:
        for row, readable in _search_pictures(
            remaining, model, f"looking for hands in {root.name}"
        ):
            if readable:  # unreadable pictures are tried again by the next run
                lines.write(json.dumps(row) + "\n")
                lines.flush()
            rows.update(row)
    # Rows without a hand are zeros, confidence included.
    nothing = np.zeros((NUM_JOINTS, 3))
    found = np.stack([np.array(rows[row][0] or nothing) for row in names])
    sums = np.array([list(bytes.fromhex(rows[row][1])) for row in names], np.uint8)
    write_detections(
        out, Detections(tuple(names), found[..., :2], found[..., 2], image_sha256=sums)
    )
    journal.unlink(missing_ok=True)
    return sum(bool(rows[row][0]) for row in names), len(names)


def wanted_hands(name: str, root: Path, splits: Sequence[str], chosen: Mapping[str, Any]) -> Wanted:
    """The pictures of a dataset's splits, with the name and side of each hand to detect.

    Raises:
        ValueError: if two splits share a frame name; one file cannot hold both.
    """
    wanted: dict[Path, list[tuple[str, Side]]] = {}
    names: set[str] = set()
    for split in dict.fromkeys(splits):
        dataset = FORMATS[name].make(root, NOT_YET, split=split, **chosen)
        for i in range(len(dataset)):
            side: Side = "left" if dataset.is_left(i) else "right"
            wanted.setdefault(dataset.path(i), []).append((dataset.detection_name(i), side))
        if shared := names.intersection(map(dataset.detection_name, range(len(dataset)))):
            raise ValueError(
                f"{root}: {min(shared)} is a frame of {split} and of another split; write a file "
                "for each split"
            )
        names.update(map(dataset.detection_name, range(len(dataset))))
    return wanted


def _search_pictures(wanted: Wanted, model: Path, doing: str) -> Iterator[tuple[Rows, bool]]:
    """Rows of each picture, and whether it was read; unreadable ones are logged, without hand."""
    sums: dict[Path, str] = {}

    def pictures() -> Iterator[tuple[UInt8[np.ndarray, "h w 3"], float]]:
        for file in progress(wanted, doing, len(wanted), "picture"):
            try:
                content = read_verified(file)
                picture = np.asarray(decode_image(content, file))
                sums[file] = hashlib.sha256(content).hexdigest()
                yield picture, 0.0
            except (ValueError, OSError) as error:
                _log.warning("no hand: %s", error)
                yield np.zeros((64, 64, 3), np.uint8), 0.0

    for file, seen in zip(wanted, search(pictures(), model, len(SIDES)), strict=True):
        names, sides = zip(*wanted[file], strict=True)
        found = [(_row(hand), sums.get(file, UNKNOWN_SHA256)) for hand in of_sides(seen, sides)]
        yield dict(zip(names, found, strict=True)), file in sums


def _row(hand: FoundHand | None) -> list[list[float]]:
    if hand is None:
        return []
    row: list[list[float]] = np.c_[hand.keypoints, hand.confidence].round(4).tolist()
    return row


def _read_journal(path: Path) -> Rows:
    """The rows that an earlier run has found; an incomplete last line is removed from the file."""
    rows: Rows = {}
    if not path.exists():
        return rows
    whole, newline, _ = path.read_text(encoding="utf-8").rpartition("\n")
    try:
        for line in whole.splitlines():
            rows.update(json.loads(line))
    except ValueError as error:
        raise ValueError(
            f"{path}: {error}; this journal of an earlier run is damaged: delete it to start over"
        ) from error
    path.write_text(whole + newline, encoding="utf-8")
    return rows
