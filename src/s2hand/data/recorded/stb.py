"""STB: videos of a left hand before a stereo camera and a depth camera, 640 x 480.

Format: Zhang et al., "3D Hand Pose Tracking and Estimation Using Stereo Matching" (2016), and what
public loaders of it agree on. Joints were annotated by hand, so they are in no mesh convention, and
joint 0 is the centre of the palm, where every detector marks the wrist. Labels here have a wrist
estimated from it (:func:`~s2hand.data.recorded.stb_labels.wrist_from_palm`): read errors of joint 0
so.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from s2hand.data.crops import CROP_PX
from s2hand.data.detections.base import Detections
from s2hand.data.recorded.base import RecordedDataset
from s2hand.data.recorded.frame_table import FrameTable
from s2hand.data.recorded.stb_labels import CAMERAS, CameraName, read_label_file, wrist_from_palm
from s2hand.geometry.skeleton import NUM_JOINTS, TO_COMMON

logger = logging.getLogger(__name__)

Split = Literal["train", "val", "test"]
TEST_BACKGROUND = "B1"

_SEQUENCE = re.compile(r"(B\d+)[A-Za-z]+", re.ASCII)
_IMAGE = re.compile(r"(BB_left|BB_right|SK_color)_(\d+)\.(?:png|jpg)", re.ASCII)


class StbDataset(RecordedDataset):
    """STB's frames, one recording per sequence and camera; the left hand is mirrored.

    Training drops and counts frames without detection, and a missing number cuts the windows. The
    test split keeps every frame, whole where nothing is detected.

    Args:
        root: the folder that holds ``images`` and ``labels``.
        detections: the path that :func:`read_detections` reads, or what it returns: of the left
            hand, in pixels of the image as it is, joined by name (``B1Counting/BB_left_0``). The
            test split may do without (None).
        split: ``test`` (the sequences B1*), ``train`` (the others) or ``val`` (the sequences of
            ``val_background``, which ``train`` then leaves out).
        cameras: which of ``BB_left``, ``BB_right`` and ``SK_color``.
        val_background: such as ``B6``; None holds nothing out.
        image_px: side of the image tensor.
        margin: side of the crop as a multiple of the keypoints' extent.
        smooth_frames: sigma of the smoothing of crops over time, in frames; 0 = none.
        labels: read ``labels/*.mat`` and give joints. There are no vertices (NaN).
        skip: names of training frames (``B2Random/BB_left/17``) to leave out.

    Raises:
        FileNotFoundError: for the first missing file that is needed.
        ValueError: for files that are not STB's, labels of another number than images, detections
            of other names, and labels behind the camera.
    """

    convention = None
    protocol = "stb_a"
    fps = None

    def __init__(
        self,
        root: str | Path,
        detections: str | Path | Detections | None,
        split: Split = "train",
        cameras: Sequence[CameraName] = ("SK_color",),
        val_background: str | None = None,
        image_px: int = CROP_PX,
        margin: float = 1.7,
        smooth_frames: float = 4.0,
        labels: bool = False,
        skip: Sequence[str] = (),
    ) -> None:
        root, test = Path(root), split == "test"
        if not cameras or not set(cameras) <= set(CAMERAS):
            raise ValueError(f"cameras={list(cameras)}: choose from {', '.join(CAMERAS)}")
        table, dropped = _read_table(root, _in_split(root, split, val_background), cameras, test)
        if labels:
            table = replace(table, joints=_read_joints(root, table))
        super().__init__(
            table,
            detections,
            keep_all=test,
            image_px=image_px,
            margin=margin,
            smooth_frames=smooth_frames,
            source=f"{root} {split}",
            dropped=dropped,
            skip=skip,
        )


def _in_split(root: Path, split: Split, val_background: str | None) -> list[str]:
    """The sequences of a split, sorted."""
    images = root / "images"
    if not images.is_dir():
        raise FileNotFoundError(f"{images}: no such folder; root holds images/ and labels/")
    background = {
        path.name: match[1]
        for path in sorted(images.iterdir())
        if path.is_dir() and (match := _SEQUENCE.fullmatch(path.name))
    }
    if split == "val" and val_background is None:
        raise ValueError("split='val' is empty: give val_background, such as B6")
    if val_background == TEST_BACKGROUND:
        raise ValueError(f"val_background={val_background!r} is the test split's; use B2 to B6")
    wanted = {
        "test": lambda b: b == TEST_BACKGROUND,
        "val": lambda b: b == val_background,
        "train": lambda b: b not in (TEST_BACKGROUND, val_background),
    }
    if split not in wanted:
        raise ValueError(f"split={split!r}; use 'train', 'val' or 'test'")
    chosen = [name for name, b in background.items() if wanted[split](b)]
    if not chosen:
        there = ", ".join(background) or "no sequence such as B1Counting"
        raise FileNotFoundError(f"{images}: no sequence of split {split} ({there})")
    return chosen


def _read_table(
    root: Path, sequences: list[str], cameras: Sequence[CameraName], test: bool
) -> tuple[FrameTable, dict[str, int]]:
    """Every image there is, by sequence, camera and number; how many are missing between them."""
    names: list[str] = []
    files: list[Path] = []
    numbers: list[int] = []
    intrinsics: list[np.ndarray] = []
    missing = 0
    for sequence in sequences:
        folder = root / "images" / sequence
        found = _images(folder)
        for camera in cameras:
            images = found.get(camera, {})
            if not images:
                raise FileNotFoundError(f"{folder}: no image {camera}_0.png; unpack all of it")
            gaps = sorted(set(range(max(images) + 1)) - set(images))
            if gaps and test:
                raise FileNotFoundError(
                    f"{folder / camera}_{gaps[0]}.png: no such image; the test split keeps every "
                    "frame, so unpack the whole archive"
                )
            missing += len(gaps)
            for number in sorted(images):
                names.append(f"{sequence}/{camera}/{number}")
                files.append(images[number])
                numbers.append(number)
                intrinsics.append(CAMERAS[camera].intrinsics())
    table = FrameTable(
        names=names,
        numbers=np.array(numbers),
        files=files,
        intrinsics=np.stack(intrinsics),
        detection_names=[f"{file.parent.name}/{file.stem}" for file in files],
        left=np.ones(len(names), bool),
    )
    return table, {"no image file": missing}


def _images(folder: Path) -> dict[str, dict[int, Path]]:
    """The images of a sequence by camera and number; png before jpg."""
    found: dict[str, dict[int, Path]] = {}
    for name in sorted(os.listdir(folder)):  # .png after .jpg
        if match := _IMAGE.fullmatch(name):
            found.setdefault(match[1], {})[int(match[2])] = folder / name
    return found


def _read_joints(root: Path, table: FrameTable) -> Float[np.ndarray, "n 21 3"]:
    """Labels of a table's frames: metres, camera space, common order, with an estimated wrist."""
    joints = np.full((len(table.names), NUM_JOINTS, 3), np.nan)
    recordings = np.array([name.rpartition("/")[0] for name in table.names])
    for recording in dict.fromkeys(recordings.tolist()):
        sequence, camera = recording.split("/")
        view = CAMERAS[camera]
        path = root / "labels" / f"{sequence}_{view.labels}.mat"
        points = read_label_file(path)
        rows = np.flatnonzero(recordings == recording)
        if (last := int(table.numbers[rows].max())) >= len(points):
            raise ValueError(
                f"{path} has {len(points)} frames, {root / 'images' / sequence} images up to "
                f"{camera}_{last}, {last + 1} frames; unpack both again"
            )
        if (points[..., 2] <= 0).any():
            row = int(np.argmax((points[..., 2] <= 0).any(1)))
            raise ValueError(
                f"{path}: z = {points[row, :, 2].min():.4g} mm in frame {row}; other axes than the "
                "published (z forward), or a damaged file?"
            )
        common = view.from_labels(points[table.numbers[rows]])[:, list(TO_COMMON["stb"])]
        joints[rows] = wrist_from_palm(common)
    return joints
