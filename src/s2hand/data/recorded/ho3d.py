"""HO-3D v2 and v3: sequences of right hands that handle objects, 640 x 480.

Format: HOnnotate (Hampali et al., CVPR 2020) and its toolkit. Joints are in the ``ho3d`` convention
(:data:`s2hand.geometry.skeleton.JOINT_CONVENTIONS`): those of the kinematic chain, and HO-3D's
fingertips. The files have OpenGL axes (x right, y up, the hand at negative z) and HO-3D's joint
order; samples have the package's. The rate, 30 frames per second, is a third-party figure.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from s2hand.data.checks import check_depth, check_intrinsics
from s2hand.data.crops import CROP_PX
from s2hand.data.detections.base import Detections
from s2hand.data.recorded.base import IMAGE_SIZE, RecordedDataset
from s2hand.data.recorded.frame_table import FrameTable, read_labels
from s2hand.data.recorded.freihand import read_label_rows
from s2hand.data.storage.cache import Layout
from s2hand.files.checksums import read_verified
from s2hand.files.pickles import NUMPY, Array, Scalar, read_pickle, to_array
from s2hand.geometry.skeleton import NUM_JOINTS, NUM_VERTICES, TO_COMMON

logger = logging.getLogger(__name__)

Split = Literal["train", "val", "evaluation"]
MAX_META_BYTES = 2**20
"""A meta file holds a few kB."""
META: Layout = {"K": ("<f8", (3, 3)), "joints": ("<f8", (NUM_JOINTS, 3)), "box": ("<f8", (4,))}

_LINE = re.compile(r"[A-Za-z0-9_-]+/\d+", re.ASCII)
_OPENGL = np.array([1.0, -1.0, -1.0])


class Ho3dDataset(RecordedDataset):
    """HO-3D's training or evaluation frames, in the order of ``train.txt`` or ``evaluation.txt``.

    Training frames without a meta file, with None for K or joints, or without a detection are
    dropped and counted; windows do not span them. Evaluation keeps every line of its list in
    order, cropped to the detection, or to the published box (``handBoundingBox``) without one.

    Args:
        root: the folder that holds ``train``, ``evaluation`` and their lists.
        detections: a path for :func:`read_detections`, or its result; joined by name
            (``ABF10/0012``). Optional (None) for evaluation.
        split: ``train``, ``val`` (recordings held out of the training list) or ``evaluation``.
        val_every: every n-th training recording in alphabetical order is held out for ``val``; 0
            holds none out. The cameras of one recording (``ABF10`` to ``ABF14``) stay together.
        image_px: side of the image tensor.
        margin: side of the crop as a multiple of the keypoints' extent.
        smooth_frames: sigma of the smoothing of crops over time, in frames; 0 = none.
        labels: return joints. Training has no vertices (NaN). The evaluation split reads joints
            and vertices from ``evaluation_xyz.json`` and ``evaluation_verts.json``, which were
            published later, if they are in ``root``.
        skip: names of training frames to leave out, such as unreadable ones.

    Raises:
        FileNotFoundError: for the first missing file that is needed.
        ValueError: for malformed lists and files, metas that name code, detections with other
            names, and labels behind the camera.
    """

    convention = "ho3d"
    protocol = "ho3d"

    def __init__(
        self,
        root: str | Path,
        detections: str | Path | Detections | None,
        split: Split = "train",
        val_every: int = 0,
        image_px: int = CROP_PX,
        margin: float = 1.7,
        smooth_frames: float = 4.0,
        labels: bool = False,
        skip: Sequence[str] = (),
    ) -> None:
        root, evaluation = Path(root), split == "evaluation"
        self.leaderboard = "ho3d" if evaluation else None
        if evaluation and skip:
            raise ValueError("skip: evaluation keeps every frame, the submission's order matters")
        folder = root / ("evaluation" if evaluation else "train")
        listed = read_list(folder.with_suffix(".txt"))
        if not evaluation:
            listed = _in_split(listed, split, val_every)
        skipped = set(skip)
        names = [name for name in listed if name not in skipped]
        table, dropped = _read_table(folder, names, evaluation)
        if labels and evaluation:
            joints, vertices = read_truth(root, len(names))
            table = replace(table, joints=joints, vertices=vertices)
        elif not labels:
            table = replace(table, joints=None)
        super().__init__(
            table,
            detections,
            keep_all=evaluation,
            image_px=image_px,
            margin=margin,
            smooth_frames=smooth_frames,
            source=f"{root} {split}",
            dropped={"in the skip list": len(listed) - len(names), **dropped},
        )


def recording_of(sequence: str) -> str:
    """The recording of a sequence: ``ABF10`` to ``ABF14`` are five cameras of ABF1.

    The last of two or more digits is the camera; ``SM2`` was recorded by one camera.
    """
    return re.sub(r"(?<=\d)\d$", "", sequence)


def _in_split(names: list[str], split: Split, val_every: int) -> list[str]:
    """The training frames of ``train`` or ``val``, which share no recording."""
    if split not in ("train", "val") or val_every < 0 or val_every == 1:
        raise ValueError(
            f"split={split!r}, val_every={val_every}: use 'train', 'val' or 'evaluation', and "
            "val_every of 2 or more (0 holds none out)"
        )
    recordings = sorted({recording_of(name.partition("/")[0]) for name in names})
    held_out = set(recordings[val_every - 1 :: val_every]) if val_every else set()
    if split == "val" and not held_out:
        raise ValueError(
            f"split='val' is empty: give val_every, 2 to the {len(recordings)} recordings present"
        )
    wanted = split == "val"
    return [n for n in names if (recording_of(n.partition("/")[0]) in held_out) == wanted]


def _read_table(
    folder: Path, names: list[str], evaluation: bool
) -> tuple[FrameTable, dict[str, int]]:
    """The frames with a complete annotation, and the number of the others by reason."""
    metas = _find(folder, names, "meta", (".pkl",))
    labels = read_labels("ho3d-labels", metas, META, read_meta)
    complete = np.isfinite(labels["K"]).all((1, 2))
    if not evaluation:
        complete &= np.isfinite(labels["joints"]).all((1, 2))
    elif not complete.all():
        name = names[int(np.argmin(complete))]
        raise ValueError(
            f"{folder}: {name} has no meta file, or no camMat in it; evaluation keeps every frame "
            "of its list, so unpack the whole archive"
        )
    kept = np.flatnonzero(complete)
    if not len(kept):
        raise ValueError(f"{folder}: none of the {len(names)} listed frames is annotated")
    names = [names[row] for row in kept]
    images = _find(folder, names, "rgb", (".png", ".jpg"))
    for name, image in zip(names, images, strict=True):
        if image is None:
            sequence, _, frame = name.partition("/")
            raise FileNotFoundError(
                f"{folder / sequence / 'rgb' / frame}: neither .png nor .jpg is there, but "
                f"{folder.name}.txt lists it; unpack the whole archive"
            )
    absent = sum(meta is None for meta in metas)
    table = FrameTable(
        names=names,
        numbers=np.array([int(name.partition("/")[2]) for name in names]),
        files=[image for image in images if image is not None],
        intrinsics=labels["K"][kept],
        left=np.zeros(len(names), bool),
        joints=None if evaluation else labels["joints"][kept],
        boxes=labels["box"][kept] if evaluation else None,
    )
    reasons = {"no meta file": absent, "None in the meta file": len(metas) - len(kept) - absent}
    return table, reasons


def _find(
    folder: Path, names: list[str], kind: str, suffixes: tuple[str, ...]
) -> list[Path | None]:
    """The file of each frame with the first suffix that exists, or None."""
    listings: dict[str, set[str]] = {}
    found: list[Path | None] = []
    for name in names:
        sequence, _, frame = name.partition("/")
        directory = os.path.join(folder, sequence, kind)
        if sequence not in listings:
            listings[sequence] = set(os.listdir(directory)) if os.path.isdir(directory) else set()
        present = [frame + s for s in suffixes if frame + s in listings[sequence]]
        found.append(Path(directory, present[0]) if present else None)
    return found


def read_list(path: Path) -> list[str]:
    """The frames ``SEQUENCE/NUMBER`` of ``train.txt`` or ``evaluation.txt``, in order.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: naming the entry that is malformed or listed twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list; root must hold it, train/ and evaluation/")
    names = read_verified(path).decode("utf-8", errors="replace").split()
    for number, name in enumerate(names):
        if not _LINE.fullmatch(name):
            raise ValueError(f"{path}, entry {number}: {name!r}; expected SEQUENCE/NUMBER")
    if len(set(names)) != len(names):
        raise ValueError(f"{path}: {Counter(names).most_common(1)[0][0]!r} is listed twice")
    return names


def read_meta(path: Path) -> dict[str, np.ndarray]:
    """K, joints (OpenCV axes, common order) and hand box of a meta file; NaN where missing."""
    content = read_pickle(path, NUMPY, MAX_META_BYTES, "an HO-3D meta file")
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected a dict")
    try:
        K = _numbers(content.get("camMat"), (3, 3))
        joints = content.get("handJoints3D")
        # The evaluation split has the root joint only.
        joints = _numbers(joints, (NUM_JOINTS, 3), absent=(3,))
        box = _numbers(content.get("handBoundingBox"), (4,))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    joints = joints[list(TO_COMMON["ho3d"])] * _OPENGL
    check_depth(joints[None], path)
    if np.isfinite(K).all():
        check_intrinsics(K[None], np.array([IMAGE_SIZE]), path)
    return {"K": K, "joints": joints, "box": box}


def read_truth(root: Path, count: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Joints and vertices of the evaluation split (OpenCV axes, common order); None if absent.

    Raises:
        ValueError: if a file and ``evaluation.txt`` have different numbers of frames.
    """
    shapes = {"evaluation_xyz.json": (NUM_JOINTS, 3), "evaluation_verts.json": (NUM_VERTICES, 3)}
    if not (root / "evaluation_xyz.json").exists():
        logger.info("%s: no evaluation labels (evaluation_xyz.json)", root)
        return None, None
    arrays = []
    for name, shape in shapes.items():
        rows = read_label_rows(root / name, shape) * _OPENGL
        if len(rows) != count:
            raise ValueError(f"{root / name} has {len(rows)} frames, evaluation.txt {count}")
        check_depth(rows, root / name)
        arrays.append(rows)
    return arrays[0][:, list(TO_COMMON["ho3d"])], arrays[1]


def _numbers(
    value: Any, shape: tuple[int, ...], absent: tuple[int, ...] | None = None
) -> np.ndarray:
    """An array from an array or list of this shape; NaN for None and for the shape ``absent``."""
    if value is None:
        return np.full(shape, np.nan)
    if isinstance(value, list | tuple):
        value = [to_array(v) if isinstance(v, Scalar) else v for v in value]
    array = to_array(value) if isinstance(value, Array) else np.asarray(value, np.float64)
    if array.shape == absent:
        return np.full(shape, np.nan)
    if array.shape != shape:
        raise ValueError(f"an array of shape {array.shape} where {shape} is expected")
    return array.astype(np.float64)
