"""DexYCB: ten people grasp objects in front of eight calibrated cameras, 640 x 480.

Format and splits: Chao et al., CVPR 2021, and its toolkit. Joints are in the ``manopth`` convention
(:data:`s2hand.geometry.skeleton.JOINT_CONVENTIONS`), OpenCV axes and the common order. The dataset
has right and left hands; left ones are mirrored.
"""

from __future__ import annotations

import io
import logging
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from s2hand.data.checks import check_depth, check_intrinsics
from s2hand.data.crops import CROP_PX
from s2hand.data.detections.base import SIDES, Detections
from s2hand.data.recorded.base import IMAGE_SIZE, RecordedDataset
from s2hand.data.recorded.frame_table import FrameTable, read_labels
from s2hand.data.storage.cache import Layout
from s2hand.files.checksums import read_verified
from s2hand.geometry.skeleton import NUM_JOINTS

logger = logging.getLogger(__name__)

Setup = Literal["s0", "s1", "s2", "s3"]
Split = Literal["train", "val", "test"]

SEQUENCES_PER_SUBJECT = 100
_SUBJECT = re.compile(r"\d{8}-subject-(\d\d)", re.ASCII)
SERIALS = (
    "836212060125",
    "839512060362",
    "840412060917",
    "841412060263",
    "932122060857",
    "932122060861",
    "932122061900",
    "932122062010",
)
"""The cameras, in the order of the splits' camera numbers."""
JOINTS: Layout = {"joints": ("<f4", (NUM_JOINTS, 3))}


@dataclass(frozen=True)
class RecordingId:
    """One recording: a sequence seen by one camera; all numbers start at 0."""

    subject: int
    sequence: int
    camera: int


_SPLITS: dict[tuple[str, str], Callable[[RecordingId], bool]] = {
    ("s0", "train"): lambda r: r.sequence % 5 != 4,
    ("s0", "val"): lambda r: r.sequence % 5 == 4 and r.subject < 2,
    ("s0", "test"): lambda r: r.sequence % 5 == 4 and r.subject >= 2,
    ("s1", "train"): lambda r: r.subject in (0, 1, 2, 3, 4, 5, 9),
    ("s1", "val"): lambda r: r.subject == 6,
    ("s1", "test"): lambda r: r.subject in (7, 8),
    ("s2", "train"): lambda r: r.camera < 6,
    ("s2", "val"): lambda r: r.camera == 6,
    ("s2", "test"): lambda r: r.camera == 7,
    ("s3", "train"): lambda r: r.sequence // 5 not in (3, 7, 11, 15, 19),
    ("s3", "val"): lambda r: r.sequence // 5 in (3, 19),
    ("s3", "test"): lambda r: r.sequence // 5 in (7, 11, 15),
}
"""The toolkit's splits: s0 by sequence, s1 by subject, s2 by camera, s3 by object."""


class DexYcbDataset(RecordedDataset):
    """DexYCB's frames, one recording per sequence and camera; left hands are mirrored.

    Frames with an unlabelled hand (joints -1) or without a label file are dropped and counted;
    windows do not span them. The training and validation splits also drop frames without a
    detection. The test split keeps every labelled frame, uncropped where nothing is detected.

    Args:
        root: the folder that holds the subjects' folders and ``calibration``.
        detections: a path for :func:`read_detections`, or its result: the labelled hand of each
            frame, in pixels of the unmirrored image. Joined by name
            (``20200709-subject-01/20200709_141754/836212060125/color_000000``). Optional (None)
            for the test split.
        setup: split by ``s0`` sequence, ``s1`` subject, ``s2`` camera or ``s3`` object.
        split: ``train``, ``val`` or ``test``.
        image_px: side of the image tensor.
        margin: side of the crop as a multiple of the keypoints' extent.
        smooth_frames: sigma of the smoothing of crops over time, in frames; 0 = none.
        labels: return joints. The files have no vertices (NaN).
        skip: names of training frames to leave out, such as unreadable ones.

    Raises:
        FileNotFoundError: for the first missing file that is needed.
        ValueError: for files of another format, detections with other names, and labels behind
            the camera.
    """

    convention = "manopth"
    protocol = "dexycb"

    def __init__(
        self,
        root: str | Path,
        detections: str | Path | Detections | None,
        setup: Setup = "s0",
        split: Split = "train",
        image_px: int = CROP_PX,
        margin: float = 1.7,
        smooth_frames: float = 4.0,
        labels: bool = False,
        skip: Sequence[str] = (),
    ) -> None:
        root = Path(root)
        table, dropped = _read_table(root, setup, split)
        super().__init__(
            table if labels else replace(table, joints=None),
            detections,
            keep_all=split == "test",
            image_px=image_px,
            margin=margin,
            smooth_frames=smooth_frames,
            source=f"{root} {setup} {split}",
            dropped=dropped,
            skip=skip,
        )


def in_split(setup: Setup, split: Split, recording: RecordingId) -> bool:
    """Whether a recording belongs to a split of the toolkit.

    Raises:
        ValueError: for an unknown setup or split.
    """
    if (setup, split) not in _SPLITS:
        raise ValueError(
            f"setup={setup!r}, split={split!r}: use s0, s1, s2 or s3, and train, val or test"
        )
    return _SPLITS[setup, split](recording)


@dataclass(frozen=True)
class _RecordingFiles:
    """The folder of one recording, its number of frames, and whether it shows a left hand."""

    folder: Path
    frames: int
    left: bool


def _read_table(root: Path, setup: Setup, split: Split) -> tuple[FrameTable, dict[str, int]]:
    """The labelled frames of a split, and the number of unlabelled ones by reason."""
    recordings = list(_recordings(root, setup, split))
    if not recordings:
        raise ValueError(f"{root}: no sequence of split {setup} {split}")
    K = {serial: read_intrinsics(root, serial) for serial in {r.folder.name for r in recordings}}
    rows = [(recording, number) for recording in recordings for number in range(recording.frames)]
    files = [file for recording in recordings for file in _label_files(recording)]
    joints = read_labels("dexycb-labels", files, JOINTS, read_joints)["joints"]
    kept = np.flatnonzero(np.isfinite(joints).all((1, 2)))
    absent = sum(file is None for file in files)
    reasons = {"no label file": absent, "no hand labelled": len(rows) - len(kept) - absent}
    if not len(kept):
        raise ValueError(f"{root}: no labelled frame in split {setup} {split} ({reasons})")
    chosen = [rows[row] for row in kept]
    images = [recording.folder / f"color_{number:06d}.jpg" for recording, number in chosen]
    table = FrameTable(
        names=[image.relative_to(root).with_suffix("").as_posix() for image in images],
        numbers=np.array([number for _, number in chosen]),
        files=images,
        intrinsics=np.stack([K[recording.folder.name] for recording, _ in chosen]),
        left=np.array([recording.left for recording, _ in chosen]),
        joints=joints[kept],
    )
    return table, reasons


def _label_files(recording: _RecordingFiles) -> list[Path | None]:
    """The label file of each frame, None if it is missing.

    Raises:
        ValueError: if the folder has more frames than ``num_frames`` in ``meta.yml``.
    """
    folder = recording.folder
    present = set(os.listdir(folder)) if folder.is_dir() else set()
    if (image := f"color_{recording.frames:06d}.jpg") in present:
        raise ValueError(
            f"{folder.parent / 'meta.yml'}: num_frames is {recording.frames}, but {folder} holds "
            f"{image}; unpack both again"
        )
    names = [f"labels_{number:06d}.npz" for number in range(recording.frames)]
    return [Path(folder, name) if name in present else None for name in names]


def _recordings(root: Path, setup: Setup, split: Split) -> Iterator[_RecordingFiles]:
    """The recordings of a split, ordered by subject, sequence and camera."""
    folders = [path for path in sorted(root.glob("*")) if path.is_dir()]
    subjects = {path: m for path in folders if (m := _SUBJECT.fullmatch(path.name))}
    if not subjects:
        raise FileNotFoundError(f"{root}: no folder such as 20200709-subject-01; is root DexYCB's?")
    # Splits number the sequences, so one without a meta.yml must not be skipped.
    sequences = {
        subject: [path / "meta.yml" for path in sorted(subject.iterdir()) if path.is_dir()]
        for subject in subjects
    }
    partial = [s.name for s, metas in sequences.items() if len(metas) != SEQUENCES_PER_SUBJECT]
    if partial and setup in ("s0", "s3"):
        logger.warning(
            "%s: %s does not have %d sequences; s0 and s3 number them, so this %s split differs "
            "from the published one",
            root, partial[0], SEQUENCES_PER_SUBJECT, split,
        )  # fmt: skip
    for subject, match in subjects.items():
        for position, meta in enumerate(sequences[subject]):
            serials, frames, left = read_meta(meta)
            for serial in serials:
                recording = RecordingId(int(match[1]) - 1, position, SERIALS.index(serial))
                if in_split(setup, split, recording):
                    yield _RecordingFiles(meta.parent / serial, frames, left)


def read_intrinsics(root: Path, serial: str) -> np.ndarray:
    """K [3, 3] of a colour camera, in pixels of its 640 x 480 image."""
    path = root / "calibration" / "intrinsics" / f"{serial}_{IMAGE_SIZE[0]}x{IMAGE_SIZE[1]}.yml"
    color = _read_yaml(path, "color")["color"]
    try:
        fx, fy, cx, cy = (float(color[key]) for key in ("fx", "fy", "ppx", "ppy"))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: color must hold the numbers fx, fy, ppx and ppy") from error
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    check_intrinsics(K[None], np.array([IMAGE_SIZE]), path)
    return K


def read_meta(path: Path) -> tuple[Sequence[str], int, bool]:
    """Serials of the cameras, number of frames, and whether the hand is a left hand."""
    meta = _read_yaml(path, "serials", "num_frames", "mano_sides")
    serials, frames, sides = meta["serials"], meta["num_frames"], meta["mano_sides"]
    serials = [str(serial) for serial in serials] if isinstance(serials, list) else []
    if not serials or not set(serials) <= set(SERIALS):
        raise ValueError(f"{path}: serials {serials}; known are {', '.join(SERIALS)}")
    if not isinstance(frames, int) or not 0 < frames < 10**6:
        raise ValueError(f"{path}: num_frames is {frames!r}, not a number of frames")
    if not isinstance(sides, list) or len(sides) != 1 or sides[0] not in SIDES:
        raise ValueError(f"{path}: mano_sides is {sides!r}; expected [right] or [left]")
    return sorted(serials, key=SERIALS.index), frames, sides[0] == "left"


def read_joints(path: Path) -> dict[str, np.ndarray]:
    """The labelled joints, metres; NaN if all are -1 (no hand is labelled)."""
    content = io.BytesIO(read_verified(path))
    try:
        with np.load(content, allow_pickle=False) as arrays:
            joints = np.asarray(arrays["joint_3d"], np.float32).reshape(NUM_JOINTS, 3)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"cannot read {path} (joint_3d, 1 x 21 x 3): {error}") from error
    if (joints == -1).all():
        return {"joints": np.full_like(joints, np.nan)}
    check_depth(joints[None], path)
    return {"joints": joints}


def _read_yaml(path: Path, *keys: str) -> dict[str, Any]:
    """A YAML mapping; the keys are required."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; unpack the whole archive")
    raw = read_verified(path)
    try:
        content = yaml.safe_load(raw.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not plain YAML: {error}") from error
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(f"{path}: no {missing[0]!r} in it; is this DexYCB's file?")
    return dict(content)
