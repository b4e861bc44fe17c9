"""InterHand2.6M: hands in a studio with many cameras; only single hands are read.

Format: Moon et al., "InterHand2.6M" (ECCV 2020), and its authors' code. From memory (M): the
folder of the annotations (``annotations/<split>``) and the cameras' 90 frames per second. Joints
are annotated and follow no mesh convention; the MANO fits are not read.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from s2hand.data.crops import CROP_PX
from s2hand.data.detections.base import SIDES, Detections
from s2hand.data.recorded.base import RecordedDataset
from s2hand.data.recorded.frame_table import FrameTable
from s2hand.data.storage.cache import Layout, read_once
from s2hand.files.json import read_json
from s2hand.geometry.skeleton import NUM_JOINTS, TO_COMMON

logger = logging.getLogger(__name__)

Split = Literal["train", "val", "test"]
CAPTURE_FPS = 90.0
"""Rate of the frame numbers (from memory): a 5 fps file has steps of 18."""
HAND_TYPES = ("right", "left", "interacting")
MAX_NAME = 160

_LAYOUT: Layout = {
    "file": (f"|S{MAX_NAME}", ()),
    "frame": ("<i8", ()),
    "size": ("<i8", (2,)),
    "hand": ("<i8", ()),
    "K": ("<f8", (3, 3)),
    "joints": ("<f4", (NUM_JOINTS, 3)),
}
"""One row per annotation: image file below its split's folder, UTF-8; frame number; width, height;
position in HAND_TYPES; K; the joints of a single hand in camera space, metres, common order, NaN
if invalid."""
_VERSION = 2


class InterHandDataset(RecordedDataset):
    """The single hands of InterHand2.6M, a recording per sequence and camera; left ones mirrored.

    The step between frames of a recording is measured in the files (``stride``: 18 at 5 fps, 3 at
    30 fps). Windows do not span a missing frame or one with both hands. Invalid joints are NaN;
    all joints are NaN if the wrist is invalid. Training and validation drop hands without a
    detection; the test split keeps them uncropped.

    Args:
        root: the folder that holds ``annotations`` and ``images``.
        detections: a path for :func:`read_detections`, or its result: the labelled hand of each
            frame, in pixels of the unmirrored image. Joined by name
            (``Capture0/ROM03_LT_No_Occlusion/cam400262/image11508``). Optional (None) for the test
            split.
        split: ``train``, ``val`` or ``test``.
        sides: the hands to read, of ``right`` and ``left``.
        image_px: side of the image tensor.
        margin: side of the crop as a multiple of the keypoints' extent.
        smooth_frames: sigma of the smoothing of crops over time, in frames; 0 = none.
        labels: return joints. There are no vertices (NaN).
        skip: names of training frames to leave out.

    Raises:
        FileNotFoundError: for the first missing file that is needed.
        ValueError: for annotations of another format, detections with other names, and labels
            behind the camera.
    """

    convention = None
    protocol = "interhand"

    def __init__(
        self,
        root: str | Path,
        detections: str | Path | Detections | None,
        split: Split = "train",
        sides: Sequence[str] = SIDES,
        image_px: int = CROP_PX,
        margin: float = 1.7,
        smooth_frames: float = 4.0,
        labels: bool = False,
        skip: Sequence[str] = (),
    ) -> None:
        root = Path(root)
        if split not in ("train", "val", "test"):
            raise ValueError(f"split={split!r}; use 'train', 'val' or 'test'")
        if not sides or not set(sides) <= set(SIDES):
            raise ValueError(f"sides={list(sides)}: choose from {', '.join(SIDES)}")
        table, self.stride, dropped = _read_table(root, split, sides, labels)
        self.fps = CAPTURE_FPS / self.stride if self.stride else None
        super().__init__(
            table,
            detections,
            keep_all=split == "test",
            image_px=image_px,
            margin=margin,
            smooth_frames=smooth_frames,
            source=f"{root} {split}",
            dropped=dropped,
            skip=skip,
        )


def _read_table(
    root: Path, split: Split, sides: Sequence[str], labels: bool
) -> tuple[FrameTable, int, dict[str, int]]:
    """The single hands of a split, the step of their frame numbers, and the counts left out."""
    rows = read_annotations(root, split)
    files = [Path(file.decode()) for file in rows["file"].tolist()]
    recordings = np.unique([file.parent.as_posix() for file in files], return_inverse=True)[1]
    stride = frame_stride(recordings, rows["frame"])
    hands = np.array(HAND_TYPES)[rows["hand"]]
    kept = np.flatnonzero(np.isin(hands, list(sides)))
    if not len(kept):
        raise ValueError(f"{root}: no single {' or '.join(sides)} hand in split {split}")
    joints = rows["joints"][kept].astype(np.float64)
    reasons = {
        "both hands": int((hands == "interacting").sum()),
        "of the other side": int((~np.isin(hands, [*sides, "interacting"])).sum()),
    }
    table = FrameTable(
        names=[files[row].with_suffix("").as_posix() for row in kept.tolist()],
        numbers=_numbers(recordings, rows["frame"], stride)[kept],
        files=[root / "images" / split / files[row] for row in kept.tolist()],
        intrinsics=np.asarray(rows["K"][kept]),
        left=hands[kept] == "left",
        joints=joints if labels else None,
        sizes=np.asarray(rows["size"][kept]),
    )
    return table, stride, reasons


def frame_stride(recordings: Int[np.ndarray, " n"], frames: Int[np.ndarray, " n"]) -> int:
    """The most frequent step between a recording's frame numbers (rows sorted); 0 without steps."""
    steps = np.diff(frames)[(np.diff(recordings) == 0) & (np.diff(frames) > 0)]
    return int(np.bincount(steps).argmax()) if len(steps) else 0


def _numbers(
    recordings: Int[np.ndarray, " n"], frames: Int[np.ndarray, " n"], stride: int
) -> Int[np.ndarray, " n"]:
    """Frame numbers in which a step of ``stride`` becomes 1 and any other step 2."""
    steps = np.where((np.diff(frames) == stride) & (np.diff(recordings) == 0), 1, 2)
    return np.concatenate([[0], np.cumsum(steps)])


def read_annotations(root: Path, split: str) -> dict[str, np.ndarray]:
    """The rows of a split (``_LAYOUT``), sorted by file's folder and frame; read once, then cached.

    The three JSON files are in ``annotations/<split>``, or in ``annotations/all`` of the first
    release.

    Raises:
        FileNotFoundError: if one of the files is missing.
        ValueError: naming the file and the malformed value.
    """
    folders = [root / "annotations" / name for name in (split, "all")]
    names = [f"InterHand2.6M_{split}_{kind}.json" for kind in ("data", "camera", "joint_3d")]
    folder = next((f for f in folders if (f / names[0]).is_file()), folders[0])
    paths = [folder / name for name in names]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; root holds annotations/ and images/")

    def read() -> tuple[int, list[dict[str, np.ndarray]]]:
        rows = _rows(*paths)
        return len(rows["file"]), [rows]

    return read_once("interhand-labels", _VERSION, paths, _LAYOUT, read)


def _rows(data: Path, camera: Path, joint_3d: Path) -> dict[str, np.ndarray]:
    """The annotations as sorted arrays, filled in place: the 30 fps release has 1.4 million."""
    content, cameras, joints = (read_json(path) for path in (data, camera, joint_3d))
    try:
        images = {image["id"]: image for image in content["images"]}
        annotations = content["annotations"]
        count = len(annotations)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{data}: no images or annotations: is this InterHand's file?") from error
    if not count:
        raise ValueError(f"{data} has no annotation")
    rows = {name: np.empty((count, *shape), kind) for name, (kind, shape) in _LAYOUT.items()}
    for number, annotation in enumerate(annotations):
        try:
            image = images[annotation["image_id"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{data}: an annotation without an image ({error})") from error
        try:
            for name, value in _row(image, annotation, cameras, joints).items():
                rows[name][number] = value
        except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            file = image.get("file_name") if isinstance(image, Mapping) else image
            raise ValueError(
                f"{data}, image {file!r}, with {camera.name} and {joint_3d.name}: "
                f"{type(error).__name__} {error}"
            ) from error
    folders = np.array([file.rpartition(b"/")[0] for file in rows["file"].tolist()])
    order = np.lexsort((rows["frame"], folders))
    return {name: values[order] for name, values in rows.items()}


def _row(
    image: Mapping[str, Any], annotation: Mapping[str, Any], cameras: Any, joints: Any
) -> dict[str, Any]:
    file, camera = image["file_name"], str(image["camera"])
    parts = PurePosixPath(file)
    name = file.encode()
    if parts.is_absolute() or ".." in parts.parts or not 0 < len(name) <= MAX_NAME:
        raise ValueError("file_name leads out of the folder or is too long")
    rig = cameras[str(image["capture"])]
    R, position = _array(rig["camrot"][camera], (3, 3)), _array(rig["campos"][camera], (3,))
    focal, centre = _array(rig["focal"][camera], (2,)), _array(rig["princpt"][camera], (2,))
    K = np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]])
    hand = HAND_TYPES.index(annotation["hand_type"])
    row = {
        "file": name,
        "frame": int(image["frame_idx"]),
        "size": _array([image["width"], image["height"]], (2,)),
        "hand": hand,
        "K": K,
        "joints": np.full((NUM_JOINTS, 3), np.nan),
    }
    if hand < 2:
        label = joints[str(image["capture"])][str(image["frame_idx"])]
        rows = slice(NUM_JOINTS * hand, NUM_JOINTS * (hand + 1))  # right hand first
        valid = np.asarray(annotation["joint_valid"], np.float64).reshape(2 * NUM_JOINTS)[rows] > 0
        valid &= valid[-1]  # as in the official code: root-relative joints need the wrist
        world = np.asarray(label["world_coord"], np.float64).reshape(2 * NUM_JOINTS, 3)[rows]
        points = np.where(valid[:, None], (world - position) @ R.T / 1000, np.nan)
        if not np.isfinite(points[valid]).all():
            raise ValueError("world_coord of a valid joint is not finite")
        row["joints"] = points[list(TO_COMMON["interhand"])]
    return row


def _array(value: Any, shape: tuple[int, ...]) -> Float[np.ndarray, "*shape"]:
    array = np.asarray(value, np.float64).reshape(shape)
    if not np.isfinite(array).all():
        raise ValueError(f"{value} is not finite")
    return array
