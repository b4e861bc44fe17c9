"""HanCo: right hands in front of eight calibrated cameras, 224 x 224, in short sequences.

Format: Zimmermann et al., "Contrastive Representation Learning for Hand Shape Estimation" (2021),
and its authors' code. Joints are in world space, one file per time step, common order. From memory
(M), not checked on the files: joints are in the ``manopth`` convention
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
"""Largest difference of R R^T of a camera from the identity."""

CALIBRATION: Layout = {"K": ("<f8", (CAMERAS, 3, 3)), "M": ("<f8", (CAMERAS, 4, 4))}
JOINTS: Layout = {"joints": ("<f8", (NUM_JOINTS, 3))}


class HanCoDataset(RecordedDataset):
    """HanCo's frames, one recording per sequence and camera.

    Files of single frames may be missing. Frames without an image or a calibration file are left
    out, and with ``labels`` also those without a joint file or a validated fit (``is_valid``).
    They are counted, and windows do not span them. Training drops frames without a detection; the
    test split keeps them uncropped.

    Args:
        root: the folder that holds ``rgb``, ``calib``, ``xyz`` and ``meta.json``.
        detections: a path for :func:`read_detections`, or its result; joined by name
            (``0110/cam3/00000024``). Optional (None) for the test split.
        split: ``train`` (filmed in front of a green screen, ``is_train``), ``val`` (the last
            ``val_sequences`` of those sequences) or ``test`` (the others).
        cameras: camera numbers, of 0..7.
        val_sequences: training sequences held out for ``val``; the same people may be in both.
        image_px: side of the image tensor.
        margin: side of the crop as a multiple of the keypoints' extent.
        smooth_frames: sigma of the smoothing of crops over time, in frames; 0 = none.
        labels: read ``xyz`` and return joints. There are no vertices (NaN).
        skip: names of training frames to leave out.

    Raises:
        FileNotFoundError: for the first missing file that is needed.
        ValueError: for files of another format, images that are not in ``meta.json``, detections
            with other names, and labels behind the camera.
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
        images, dropped = _list_images(root, split, sorted(set(cameras)), val_sequences)
        table, missing = _read_table(root, images, labels)
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
class _ImageId:
    """The sequence, camera and frame of an image, and whether its fit was validated."""

    sequence: str
    camera: int
    frame: int
    valid: bool

    def name(self) -> str:
        return f"{self.sequence}/cam{self.camera}/{self.frame:08d}"


def _list_images(
    root: Path, split: Split, cameras: Sequence[int], val_sequences: int
) -> tuple[list[_ImageId], dict[str, int]]:
    """The images of a split, by sequence, camera and frame; the number of missing ones."""
    green, valid = read_meta(root / "meta.json")
    chosen = _in_split(root, split, green, val_sequences)
    images: list[_ImageId] = []
    missing = 0
    for sequence in chosen:
        num_frames = len(green[int(sequence)])
        for camera in cameras:
            folder = root / "rgb" / sequence / f"cam{camera}"
            frames = _frames(folder)
            if frames and frames[-1] >= num_frames:
                raise ValueError(
                    f"{folder}: has an image of frame {frames[-1]}, but {root / 'meta.json'} lists "
                    f"{num_frames} frames of this sequence; unpack both again"
                )
            is_train = green[int(sequence)]
            of_split = [f for f in range(num_frames) if is_train[f] == (split != "test")]
            present = sorted(set(frames) & set(of_split))
            missing += len(of_split) - len(present)
            images += [_ImageId(sequence, camera, f, valid[int(sequence)][f]) for f in present]
    if not images:
        raise FileNotFoundError(f"{root / 'rgb'}: no image of split {split} (cam{cameras[0]}/...)")
    return images, {"no image file": missing}


def _in_split(
    root: Path, split: Split, green: list[list[bool]], val_sequences: int
) -> Sequence[str]:
    """The sequences that are on disk and have frames in the split."""
    if split not in ("train", "val", "test"):
        raise ValueError(f"split={split!r}; use 'train', 'val' or 'test'")
    folder = root / "rgb"
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; root holds rgb/, calib/ and meta.json")
    present = [name for name in sorted(os.listdir(folder)) if _SEQUENCE.fullmatch(name)]
    if present and int(present[-1]) >= len(green):
        raise ValueError(
            f"{folder / present[-1]}: {root / 'meta.json'} lists {len(green)} sequences, from 0000"
        )
    if split == "test":
        return [name for name in present if not all(green[int(name)])]
    train = [name for name in present if any(green[int(name)])]
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
    root: Path, images: Sequence[_ImageId], labels: bool
) -> tuple[FrameTable, dict[str, int]]:
    """The images with all of their files, and the number of the others by reason."""
    # The cameras share the files of a time step.
    times = list(dict.fromkeys((image.sequence, image.frame) for image in images))
    row = {time: i for i, time in enumerate(times)}
    rows = np.array([row[image.sequence, image.frame] for image in images])
    camera = np.array([image.camera for image in images])
    calibration = read_labels(
        "hanco-calib", _files(root / "calib", times), CALIBRATION, read_calibration
    )
    K, M = (calibration[key][rows, camera] for key in ("K", "M"))
    kept = np.isfinite(K).all((1, 2))
    reasons = {"no calibration file": int((~kept).sum())}
    joints = None
    if labels:
        world = read_labels("hanco-xyz", _files(root / "xyz", times), JOINTS, read_joints)
        points = world["joints"][rows]
        joints = points @ M[:, :3, :3].transpose(0, 2, 1) + M[:, None, :3, 3]
        labelled = np.isfinite(points).all((1, 2))
        valid = np.array([image.valid for image in images])
        reasons["no joint file"] = int((kept & ~labelled).sum())
        reasons["no validated fit"] = int((kept & labelled & ~valid).sum())
        kept = kept & labelled & valid
    if not kept.any():
        raise ValueError(f"{root}: no frame with all of its files ({reasons})")
    table = FrameTable(
        names=[image.name() for image in images],
        numbers=np.array([image.frame for image in images]),
        files=[Path(root, "rgb", f"{image.name()}.jpg") for image in images],
        intrinsics=K,
        left=np.zeros(len(images), bool),
    )
    return replace(table, joints=joints).rows(np.flatnonzero(kept)), reasons


def _files(folder: Path, times: Sequence[tuple[str, int]]) -> list[Path | None]:
    """The file of each time step (sequence, frame), None if it is missing."""
    present = {s: set(_listing(folder / s)) for s in {sequence for sequence, _ in times}}
    names = [(sequence, f"{frame:08d}.json") for sequence, frame in times]
    return [Path(folder, s, name) if name in present[s] else None for s, name in names]


def read_meta(path: Path) -> tuple[list[list[bool]], list[list[bool]]]:
    """``is_train`` and ``is_valid`` of every frame of every sequence."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; root holds it, rgb/, calib/ and xyz/")
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
        raise ValueError(f"{path}: M of cam{int(np.argmin(rigid))} is not a rigid transform")
    return {"K": K, "M": M}


def read_joints(path: Path) -> dict[str, np.ndarray]:
    """Joints [21, 3] in world space, metres."""
    return {"joints": _array(path, read_json(path), (NUM_JOINTS, 3))}


def _array(path: Path, value: Any, shape: tuple[int, ...]) -> Float[np.ndarray, "*shape"]:
    try:
        array = np.asarray(value, np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: expected numbers of shape {shape}: {error}") from error
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{path}: expected finite numbers of shape {shape}, got {array.shape}")
    return array
