"""HanCo: right hands before eight calibrated cameras, 224 x 224, in short sequences.

Format: Zimmermann et al., "Contrastive Representation Learning for Hand Shape Estimation" (2021),
and its authors' code. Joints are in world space, one file for each moment, common order. From
memory (M), not checked on the files: that they are those of the ``manopth`` convention
(:data:`s2hand.geometry.skeleton.JOINT_CONVENTIONS`) and in metres.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from s2hand.data.checks import check_intrinsics
from s2hand.data.crops import CROP_PX
from s2hand.data.detections.base import Detections
from s2hand.data.recorded.base import RecordedDataset
from s2hand.data.recorded.frame_table import FrameTable, read_labels
from s2hand.data.storage.cache import Layout
from s2hand.files.json import read_json
from s2hand.geometry.skeleton import NUM_JOINTS

logger = logging.getLogger(__name__)

Split = Literal["train", "val", "test"]

_IMAGE = re.compile(r"(\d{8})\.jpg", re.ASCII)
_SEQUENCE = re.compile(r"\d{4}", re.ASCII)
CAMERAS = 8
IMAGE_SIZE = (224, 224)
"""(width, height)."""
MAX_SHEAR = 1e-3
"""By how much R R^T of a camera may differ from the identity."""

CALIBRATION: Layout = {"K": ("<f8", (CAMERAS, 3, 3)), "M": ("<f8", (CAMERAS, 4, 4))}
JOINTS: Layout = {"joints": ("<f8", (NUM_JOINTS, 3))}


class HanCoDataset(RecordedDataset):
    """HanCo's frames, one recording per sequence and camera.

    Files of single frames may be missing. Frames without an image or a calibration file are left
    out, with ``labels`` also those without a joint file or without a validated fit (``is_valid``);
    each is counted and cuts the windows. Training drops frames without detection; the test split
    keeps them, whole where nothing is detected.

    Args:
        root: the folder that holds ``rgb``, ``calib``, ``xyz`` and ``meta.json``.
        detections: the path that :func:`read_detections` reads, or what it returns; joined by name
            (``0110/cam3/00000024``). The test split may do without (None).
        split: ``train`` (filmed before a green screen, ``is_train``), ``val`` (the last
            ``val_sequences`` of those sequences) or ``test`` (the others).
        cameras: which of 0..7.
        val_sequences: training sequences held out for ``val``; the same people may be in both.
        image_px: side of the image tensor.
        margin: side of the crop as a multiple of the keypoints' extent.
        smooth_frames: sigma of the smoothing of crops over time, in frames; 0 = none.
        labels: read ``xyz`` and give joints. There are no vertices (NaN).
        skip: names of training frames to leave out.

    Raises:
        FileNotFoundError: for the first missing file that is needed.
        ValueError: for files that are not HanCo's, images that ``meta.json`` does not know,
            detections of other names, and labels behind the camera.
    """

    convention = "manopth"
    fps = None
    image_size = IMAGE_SIZE

    def __init__(
        self,
        root: str | Path,
        detections: str | Path | Detections | None,
        split: Split = "train",
        cameras: Sequence[int] = tuple(range(CAMERAS)),
        val_sequences: int = 0,
        image_px: int = CROP_PX,
        margin: float = 1.7,
        smooth_frames: float = 4.0,
        labels: bool = False,
        skip: Sequence[str] = (),
    ) -> None:
        root = Path(root)
        if not cameras or not set(cameras) <= set(range(CAMERAS)):
            raise ValueError(f"cameras={list(cameras)}: choose from 0..{CAMERAS - 1}")
        views, dropped = _views(root, split, sorted(set(cameras)), val_sequences)
        table, missing = _read_table(root, views, labels)
        super().__init__(
            table,
            detections,
            keep_all=split == "test",
            image_px=image_px,
            margin=margin,
            smooth_frames=smooth_frames,
            source=f"{root} {split}",
            dropped=dropped | missing,
            skip=skip,
        )


@dataclass(frozen=True)
class _View:
    """One image: its sequence, camera and frame, and whether its fit was validated."""

    sequence: str
    camera: int
    frame: int
    valid: bool

    def name(self) -> str:
        return f"{self.sequence}/cam{self.camera}/{self.frame:08d}"


def _views(
    root: Path, split: Split, cameras: Sequence[int], val_sequences: int
) -> tuple[list[_View], dict[str, int]]:
    """The images of a split by sequence, camera and frame; how many are missing."""
    green, valid = read_meta(root / "meta.json")
    chosen = _in_split(root, split, green, val_sequences)
    views: list[_View] = []
    missing = 0
    for sequence in chosen:
        known = len(green[int(sequence)])
        for camera in cameras:
            folder = root / "rgb" / sequence / f"cam{camera}"
            frames = _frames(folder)
            if frames and frames[-1] >= known:
                raise ValueError(
                    f"{folder}: has an image of frame {frames[-1]}, {root / 'meta.json'} {known} "
                    "frames of this sequence; unpack both again"
                )
            of_split = [f for f in range(known) if green[int(sequence)][f] == (split != "test")]
            there = sorted(set(frames) & set(of_split))
            missing += len(of_split) - len(there)
            views += [_View(sequence, camera, f, valid[int(sequence)][f]) for f in there]
    if not views:
        raise FileNotFoundError(f"{root / 'rgb'}: no image of split {split} (cam{cameras[0]}/...)")
    return views, {"no image file": missing}


def _in_split(
    root: Path, split: Split, green: list[list[bool]], val_sequences: int
) -> Sequence[str]:
    """The sequences that are on disk and have frames in the split."""
    if split not in ("train", "val", "test"):
        raise ValueError(f"split={split!r}; use 'train', 'val' or 'test'")
    folder = root / "rgb"
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; root holds rgb/, calib/ and meta.json")
    there = [name for name in sorted(os.listdir(folder)) if _SEQUENCE.fullmatch(name)]
    if there and int(there[-1]) >= len(green):
        raise ValueError(
            f"{folder / there[-1]}: {root / 'meta.json'} knows {len(green)} sequences, 0000 on"
        )
    if split == "test":
        return [name for name in there if not all(green[int(name)])]
    train = [name for name in there if any(green[int(name)])]
    if not 0 <= val_sequences < max(len(train), 1):
        raise ValueError(
            f"val_sequences={val_sequences}: there are {len(train)} training sequences; hold out "
            "fewer (dataset.val_sequences=...), or none: 0, and data.val=null"
        )
    first = len(train) - val_sequences
    if split == "val" and not val_sequences:
        raise ValueError("split='val' is empty: give val_sequences, such as 50")
    return train[first:] if split == "val" else train[:first]


def _frames(folder: Path) -> list[int]:
    """The frame numbers of a camera's images, in order."""
    return sorted(int(m[1]) for name in _listing(folder) if (m := _IMAGE.fullmatch(name)))


def _listing(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []


def _read_table(
    root: Path, views: Sequence[_View], labels: bool
) -> tuple[FrameTable, dict[str, int]]:
    """The images that have what they need, and how many have not, by reason."""
    moments = list(dict.fromkeys((view.sequence, view.frame) for view in views))
    row = {moment: i for i, moment in enumerate(moments)}
    rows = np.array([row[view.sequence, view.frame] for view in views])
    camera = np.array([view.camera for view in views])
    calibration = read_labels(
        "hanco-calib", _files(root / "calib", moments), CALIBRATION, read_calibration
    )
    K, M = (calibration[key][rows, camera] for key in ("K", "M"))
    kept = np.isfinite(K).all((1, 2))
    reasons = {"no calibration file": int((~kept).sum())}
    joints = None
    if labels:
        world = read_labels("hanco-xyz", _files(root / "xyz", moments), JOINTS, read_joints)
        points = world["joints"][rows]
        joints = points @ M[:, :3, :3].transpose(0, 2, 1) + M[:, None, :3, 3]
        labelled = np.isfinite(points).all((1, 2))
        valid = np.array([view.valid for view in views])
        reasons["no joint file"] = int((kept & ~labelled).sum())
        reasons["no validated fit"] = int((kept & labelled & ~valid).sum())
        kept = kept & labelled & valid
    if not kept.any():
        raise ValueError(f"{root}: no frame with all of its files ({reasons})")
    table = FrameTable(
        names=[view.name() for view in views],
        numbers=np.array([view.frame for view in views]),
        files=[Path(root, "rgb", f"{view.name()}.jpg") for view in views],
        intrinsics=K,
        left=np.zeros(len(views), bool),
    )
    return replace(table, joints=joints).rows(np.flatnonzero(kept)), reasons


def _files(folder: Path, moments: Sequence[tuple[str, int]]) -> list[Path | None]:
    """The file of each moment, None where it is missing."""
    there = {s: set(_listing(folder / s)) for s in {sequence for sequence, _ in moments}}
    names = [(sequence, f"{frame:08d}.json") for sequence, frame in moments]
    return [Path(folder, s, name) if name in there[s] else None for s, name in names]


def read_meta(path: Path) -> tuple[list[list[bool]], list[list[bool]]]:
    """``is_train`` and ``is_valid`` of every frame of every sequence."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; root holds rgb/, calib/, xyz/ and it")
    content = read_json(path)
    lists: list[Any] = []
    for key in ("is_train", "is_valid"):
        rows = content.get(key) if isinstance(content, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
            raise ValueError(f"{path}: no list of lists {key!r} in it; is this HanCo's file?")
        lists.append([[bool(value) for value in row] for row in rows])
    lengths = [[len(row) for row in rows] for rows in lists]
    if lengths[0] != lengths[1]:
        raise ValueError(
            f"{path}: is_train has {sum(lengths[0])} frames in {len(lengths[0])} sequences, "
            f"is_valid {sum(lengths[1])} in {len(lengths[1])}"
        )
    return lists[0], lists[1]


def read_calibration(path: Path) -> dict[str, np.ndarray]:
    """K, pixels, and world-to-camera M of the eight cameras."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected K (8 x 3 x 3) and M (8 x 4 x 4)")
    K, M = (_array(path, content.get(key), shape) for key, (_, shape) in CALIBRATION.items())
    check_intrinsics(K, np.tile(IMAGE_SIZE, (CAMERAS, 1)), path)
    R = M[:, :3, :3]
    rigid = np.isclose(R @ R.transpose(0, 2, 1), np.eye(3), atol=MAX_SHEAR).all((1, 2))
    rigid &= (M[:, 3] == [0, 0, 0, 1]).all(-1)
    if not rigid.all():
        raise ValueError(f"{path}: M of cam{int(np.argmin(rigid))} is no rotation and translation")
    return {"K": K, "M": M}


def read_joints(path: Path) -> dict[str, np.ndarray]:
    """World space, metres."""
    return {"joints": _array(path, read_json(path), (NUM_JOINTS, 3))}


def _array(path: Path, value: Any, shape: tuple[int, ...]) -> Float[np.ndarray, "*shape"]:
    try:
        array = np.asarray(value, np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: expected numbers of shape {shape}: {error}") from error
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{path}: expected finite numbers of shape {shape}, got {array.shape}")
    return array
