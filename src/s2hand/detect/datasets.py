"""Detection on a published dataset: the wanted hand of every frame of its splits, resumable.

Hours of work, so what is found stands in a file beside the one to be written, a line for each hand,
and the same command goes on from there. Pictures are taken one by one, whatever their order.
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
from s2hand.detect.confidence import VIEWS
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
"""The hands that are wanted of each picture: the names of their rows, and their sides."""
UNKNOWN = 64 * "0"
Rows = dict[str, tuple[list[list[float]], str]]
"""By name: 21 x (x, y, confidence), or nothing where no hand was found; SHA-256 of the picture."""


def detect_dataset(
    name: str,
    root: Path,
    splits: Sequence[str],
    chosen: Mapping[str, Any],
    out: Path,
    model: Path | None = None,
) -> tuple[int, int]:
    """Find the hand of every frame of a dataset's splits and write them as the dataset reads them.

    Args:
        name: of :data:`~s2hand.data.recorded.formats.FORMATS`.
        root: the dataset's folder.
        splits: of the dataset.
        chosen: its other arguments, such as cameras.
        out: the JSON to write.
        model: ``hand_landmarker.task``, if not where ``find_model`` looks.

    Returns:
        How many frames have a hand, and how many there are.

    Raises:
        FileNotFoundError, ValueError: what cannot be read or written, and the remedy.
    """
    check_output(out, [model])
    model = find_model(model)
    with lock_file(out.with_name(f".{out.name}.lock")) as free:
        if not free:
            raise ValueError(
                f"{out}: another s2hand-detect is at work on it; wait for its end, or give another "
                "file with -o"
            )
        return _detect(root, wanted_hands(name, root, splits, chosen), out, model)


def _detect(root: Path, wanted: Wanted, out: Path, model: Path) -> tuple[int, int]:
    names = [row for rows in wanted.values() for row, _ in rows]
    by = [version(), hashlib.sha256(model.read_bytes()).hexdigest(), len(VIEWS)]
    key = content_key(names=names, root=str(root.resolve()), detector=by)
    notes = out.with_name(f".{out.name}.{key}.lines")
    rows = _read_notes(notes)
    if rows:
        _log.warning("%d of %d hands were looked for before: going on", len(rows), len(names))
    left = {file: hands for file, hands in wanted.items() if any(n not in rows for n, _ in hands)}
    with notes.open("a", encoding="utf-8") as lines:
        for row, readable in _look(left, model, f"looking for hands in {root.name}"):
            if readable:  # others are looked at again, when they may be mended
                lines.write(json.dumps(row) + "\n")
                lines.flush()
            rows.update(row)
    nothing = np.zeros((NUM_JOINTS, 3))
    found = np.stack([np.array(rows[row][0] or nothing) for row in names])
    sums = np.array([list(bytes.fromhex(rows[row][1])) for row in names], np.uint8)
    write_detections(
        out, Detections(tuple(names), found[..., :2], found[..., 2], image_sha256=sums)
    )
    notes.unlink(missing_ok=True)
    return sum(bool(rows[row][0]) for row in names), len(names)


def wanted_hands(name: str, root: Path, splits: Sequence[str], chosen: Mapping[str, Any]) -> Wanted:
    """The pictures of a dataset's splits, and whose hand each frame of them shows.

    Raises:
        ValueError: if two splits name their frames alike; one file cannot hold both.
    """
    wanted: dict[Path, list[tuple[str, Side]]] = {}
    names: set[str] = set()
    for split in dict.fromkeys(splits):
        dataset = FORMATS[name].make(root, NOT_YET, split=split, **chosen)
        for i in range(len(dataset)):
            side: Side = "left" if dataset.is_left(i) else "right"
            wanted.setdefault(dataset.path(i), []).append((dataset.detection_name(i), side))
        if twice := names.intersection(map(dataset.detection_name, range(len(dataset)))):
            raise ValueError(
                f"{root}: {min(twice)} is a frame of {split} and of another split; write a file "
                "for each of them"
            )
        names.update(map(dataset.detection_name, range(len(dataset))))
    return wanted


def _look(wanted: Wanted, model: Path, doing: str) -> Iterator[tuple[Rows, bool]]:
    """What is found in each picture; one that cannot be read is named, and has no hand (False)."""
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
        found = [(_row(hand), sums.get(file, UNKNOWN)) for hand in of_sides(seen, sides)]
        yield dict(zip(names, found, strict=True)), file in sums


def _row(hand: FoundHand | None) -> list[list[float]]:
    if hand is None:
        return []
    row: list[list[float]] = np.c_[hand.keypoints, hand.confidence].round(4).tolist()
    return row


def _read_notes(path: Path) -> Rows:
    """What an earlier run has found; a last line that was cut short is taken away."""
    rows: Rows = {}
    if not path.exists():
        return rows
    whole, newline, _ = path.read_text(encoding="utf-8").rpartition("\n")
    try:
        for line in whole.splitlines():
            rows.update(json.loads(line))
    except ValueError as error:
        raise ValueError(
            f"{path}: {error}; this file of an earlier run is damaged, delete it to begin again"
        ) from error
    path.write_text(whole + newline, encoding="utf-8")
    return rows
