"""STB: videos of a left hand in front of a stereo camera and a depth camera, 640 x 480.

Format: Zhang et al., "3D Hand Pose Tracking and Estimation Using Stereo Matching" (2016), and the
consensus of public loaders. Joints were annotated by hand and follow no mesh convention. Joint 0
is the centre of the palm, while every detector marks the wrist. Labels therefore have a wrist
estimated from the palm (:func:`wrist_from_palm`), and errors of joint 0 are relative to that
estimate. Camera parameters are those of public loaders (Zhang et al.).
"""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy.io import loadmat, whosmat
from scipy.spatial.transform import Rotation

from s2hand.data.crops import CROP_PX
from s2hand.data.detections.base import Detections
from s2hand.data.recorded.base import RecordedDataset
from s2hand.data.recorded.frame_table import FrameTable
from s2hand.files.checksums import read_verified
from s2hand.geometry.skeleton import NUM_JOINTS, TO_COMMON

logger = logging.getLogger(__name__)

Split = Literal["train", "val", "test"]
TEST_BACKGROUND = "B1"

_SEQUENCE = re.compile(r"(B\d+)[A-Za-z]+", re.ASCII)
_IMAGE = re.compile(r"(BB_left|BB_right|SK_color)_(\d+)\.(?:png|jpg)", re.ASCII)
CameraName = Literal["BB_left", "BB_right", "SK_color"]
MAX_LABEL_BYTES = 2**22
"""A label file holds 0.75 MB of numbers."""
_PALM, _RING_BASE = 0, 13


@dataclass(frozen=True)
class StbCamera:
    """A camera's intrinsics, pixels, and the transform of the labels into its frame."""

    fx: float
    fy: float
    cx: float
    cy: float
    labels: str
    """Suffix of the label file, ``<SEQUENCE>_<labels>.mat``, in millimetres."""
    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Axis-angle."""
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """X_camera = (X_label - shift) R, points as rows."""

    def intrinsics(self) -> Float[np.ndarray, "3 3"]:
        """K."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]])

    def from_labels(self, points_mm: Float[np.ndarray, "n p 3"]) -> Float[np.ndarray, "n p 3"]:
        """Metres in this camera's frame (OpenCV axes)."""
        R = Rotation.from_rotvec(self.rotation).as_matrix()
        return (points_mm - np.array(self.shift_mm)) @ R / 1000


_BB = (822.79041, 822.79041, 318.47345, 250.31296)
CAMERAS: dict[CameraName, StbCamera] = {
    "BB_left": StbCamera(*_BB, labels="BB"),
    "BB_right": StbCamera(*_BB, labels="BB", shift_mm=(120.054, 0.0, 0.0)),
    "SK_color": StbCamera(
        607.92271, 607.88192, 314.78337, 236.42484, "SK",
        rotation=(0.00531, -0.01196, 0.00301), shift_mm=(-24.0381, -0.4563, -1.2326),
    ),
}  # fmt: skip
"""The stereo pair, with labels in the left camera's frame, and the colour camera, with labels in
the frame of the depth camera beside it."""


class StbDataset(RecordedDataset):
    """STB's frames, one recording per sequence and camera; the left hand is mirrored.

    Training drops and counts frames without a detection. Windows do not span a missing number. The
    test split keeps every frame, uncropped where nothing is detected.

    Args:
        root: the folder that holds ``images`` and ``labels``.
        detections: a path for :func:`read_detections`, or its result: the left hand, in pixels of
            the unmirrored image, joined by name (``B1Counting/BB_left_0``). Optional (None) for
            the test split.
        split: ``test`` (the sequences B1*), ``train`` (the others) or ``val`` (the sequences of
            ``val_background``, which ``train`` then leaves out).
        cameras: names, of ``BB_left``, ``BB_right`` and ``SK_color``.
        val_background: background to hold out, such as ``B6``; None holds nothing out.
        image_px: side of the image tensor.
        margin: side of the crop as a multiple of the keypoints' extent.
        smooth_frames: sigma of the smoothing of crops over time, in frames; 0 = none.
        labels: read ``labels/*.mat`` and return joints. There are no vertices (NaN).
        skip: names of training frames (``B2Random/BB_left/17``) to leave out.

    Raises:
        FileNotFoundError: for the first missing file that is needed.
        ValueError: for files of another format, different numbers of labels and images, detections
            with other names, and labels behind the camera.
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
        present = ", ".join(background) or "no sequence such as B1Counting"
        raise FileNotFoundError(f"{images}: no sequence of split {split} ({present})")
    return chosen


def _read_table(
    root: Path, sequences: list[str], cameras: Sequence[CameraName], test: bool
) -> tuple[FrameTable, dict[str, int]]:
    """All images by sequence, camera and number; the number of gaps between them."""
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
        calibration = CAMERAS[camera]
        path = root / "labels" / f"{sequence}_{calibration.labels}.mat"
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
                "published ones (z forward), or a damaged file?"
            )
        common = calibration.from_labels(points[table.numbers[rows]])[:, list(TO_COMMON["stb"])]
        joints[rows] = wrist_from_palm(common)
    return joints


def wrist_from_palm(joints: Float[np.ndarray, "n 21 3"]) -> Float[np.ndarray, "n 21 3"]:
    """Replace joint 0 (common order), the palm's centre, by an estimated wrist.

    The palm's centre is assumed to be midway between the wrist and the base of the ring finger, so
    wrist = 2 palm - base. Third party: the public code of Ge et al. (CVPR 2019), which scores
    under protocol ``stb_a`` with this wrist as root.
    """
    joints = joints.copy()
    joints[:, _PALM] = 2 * joints[:, _PALM] - joints[:, _RING_BASE]
    return joints


def read_label_file(path: Path) -> Float[np.ndarray, "n 21 3"]:
    """``handPara`` [3, 21, n] of a label file as rows: mm, STB's joint order.

    ``scipy.io.loadmat`` executes nothing from the file. Name, type, shape and size are checked
    before the numbers are read.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: naming the file and the malformed value.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such label file; unpack labels/ beside images/")
    if (size := path.stat().st_size) > MAX_LABEL_BYTES:
        raise ValueError(f"{path}: {size} bytes, which is too large for a label file of STB")
    content: Any = io.BytesIO(read_verified(path))  # accepted by scipy, but not by its type stubs
    try:
        listed = {name: (shape, kind) for name, shape, kind in whosmat(content)}
        shape, kind = listed.get("handPara", ((), "missing"))
        if kind not in ("double", "single") or len(shape) != 3 or shape[:2] != (3, NUM_JOINTS):
            raise ValueError(f"handPara is {kind} {shape}; expected double (3, 21, frames)")
        values = loadmat(content, variable_names=["handPara"])["handPara"]
        points = np.asarray(values, np.float64).transpose(2, 1, 0)
        if points.shape != (shape[2], NUM_JOINTS, 3):
            raise ValueError(f"handPara has shape {values.shape}, its header declares {shape}")
    except Exception as error:  # a damaged file can raise any exception
        raise ValueError(f"cannot read {path}: {error}") from error
    if not np.isfinite(points).all():
        row = int(np.argmin(np.isfinite(points).all((1, 2))))
        raise ValueError(f"{path}: handPara of frame {row} is not finite")
    return points
