"""RHD: rendered pictures of people, 320 x 320, with both hands labelled.

Format: the Rendered Handpose Dataset of Zimmermann and Brox (ICCV 2017). Joints are those of the
characters' skeletons and follow no mesh convention; OpenCV axes, metres. Stills, no sequences.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from s2hand.data.checks import listed
from s2hand.data.crops import CROP_PX
from s2hand.data.detections.base import Detections
from s2hand.data.recorded.base import RecordedDataset
from s2hand.data.recorded.frame_table import FrameTable
from s2hand.data.storage.cache import Layout, read_once
from s2hand.files.pickles import NUMPY, Array, read_pickle, to_array
from s2hand.geometry.skeleton import NUM_JOINTS, TO_COMMON

logger = logging.getLogger(__name__)

Split = Literal["train", "evaluation"]
Hands = Literal["each", "dominant"]
MAX_OFF_PX = 10.0
"""Labels are damaged if 3D and 2D are further apart."""
FOLDERS = {"train": "training", "evaluation": "evaluation"}
MAX_ANNOTATION_BYTES = 2**29
"""``anno_training.pickle`` holds about 100 MB."""

_LAYOUT: Layout = {
    "picture": ("<i8", ()),
    "K": ("<f8", (3, 3)),
    "joints": ("<f4", (2, NUM_JOINTS, 3)),
    "visible": ("|b1", (2, NUM_JOINTS)),
    "extent": ("<f4", (2,)),
    "off_px": ("<f4", (2,)),
}
"""One row per picture: its number, K, joints (left hand first, common order), their visibility,
the longer side of each hand's box, and the largest distance of projected joints from ``uv_vis``,
pixels. NaN: None in the file."""
_VERSION = 2


class RhdDataset(RecordedDataset):
    """The visible hands of RHD's pictures, one sample each; left hands are mirrored.

    A hand is a sample if at least ``min_visible`` of its 21 joints are visible (``uv_vis``).
    Pictures with None in their annotation, and hands whose 3D joints do not project onto their 2D
    joints, are dropped and counted in training and are an error in the evaluation. Training also
    drops hands without a detection; evaluation uses the whole picture.

    Args:
        root: the folder that holds ``training`` and ``evaluation``.
        detections: a path for :func:`read_detections`, or its result. A file that records sides
            is joined by picture (``00012``) and side; any other file, and :class:`Detections`, by
            sample (``00012/left``). Optional (None) for evaluation.
        split: ``train`` or ``evaluation``.
        hands: ``each`` visible hand, or only the ``dominant`` hand of each picture: the one with
            more visible joints, or the larger one if equal. Published numbers use one hand per
            picture; from memory, the original chooses it by the pixels of its mask.
        min_visible: smallest number of visible joints, 1 to 21 (our definition).
        image_px: side of the image tensor.
        margin: side of the crop as a multiple of the keypoints' extent.
        labels: return joints, including invisible ones, which the benchmark leaves out. There are
            no vertices (NaN).
        skip: names of training samples (``00012/left``) to leave out.

    Raises:
        FileNotFoundError: for the first missing file that is needed.
        ValueError: for malformed annotations, annotations that name code, detections with other
            names, and labels behind the camera.
    """

    convention = None
    protocol = "rhd"
    fps = None
    image_size = (320, 320)

    def __init__(
        self,
        root: str | Path,
        detections: str | Path | Detections | None,
        split: Split = "train",
        hands: Hands = "each",
        min_visible: int = 11,
        image_px: int = CROP_PX,
        margin: float = 1.7,
        labels: bool = False,
        skip: Sequence[str] = (),
    ) -> None:
        root, evaluation = Path(root), split == "evaluation"
        if split not in FOLDERS or hands not in ("each", "dominant"):
            raise ValueError(
                f"split={split!r}, hands={hands!r}: use 'train' or 'evaluation', and 'each' or "
                "'dominant'"
            )
        if not 1 <= min_visible <= NUM_JOINTS:
            raise ValueError(f"min_visible={min_visible}: a number of joints, 1 to {NUM_JOINTS}")
        table, dropped = _read_table(root, split, hands, min_visible)
        if not labels:
            table = replace(table, joints=None)
        super().__init__(
            table,
            detections,
            keep_all=evaluation,
            image_px=image_px,
            margin=margin,
            smooth_frames=0.0,
            source=f"{root} {split}",
            dropped=dropped,
            skip=skip,
        )


def _read_table(
    root: Path, split: Split, hands: Hands, min_visible: int
) -> tuple[FrameTable, dict[str, int]]:
    """The samples of a split by picture, left hand first; the number left out by reason."""
    folder = root / FOLDERS[split]
    path = folder / f"anno_{FOLDERS[split]}.pickle"
    rows = read_annotations(path)
    complete = np.isfinite(rows["K"]).all((1, 2))
    if split == "evaluation" and not complete.all():
        picture = rows["picture"][int(np.argmin(complete))]
        raise ValueError(f"{path}: None in picture {picture:05d}; evaluation keeps every picture")
    shown = rows["visible"].sum(-1)
    usable = (shown >= min_visible) & complete[:, None]
    matching = rows["off_px"] <= MAX_OFF_PX
    if split == "evaluation" and not matching[usable].all():
        wrong = np.argwhere(usable & ~matching)[0][0]
        raise ValueError(
            f"{path}: xyz of picture {rows['picture'][wrong]:05d} projects "
            f"{rows['off_px'][wrong].max():.0f} px from its uv_vis; is the file damaged?"
        )
    chosen = usable & matching
    if hands == "dominant":
        chosen &= _dominant(shown, rows["extent"])
    picture, side = np.nonzero(chosen)
    reasons = {
        "None in the annotation": 2 * int((~complete).sum()),
        f"fewer than {min_visible} joints visible": int((complete[:, None] & ~usable).sum()),
        f"3D more than {MAX_OFF_PX:.0f} px from its 2D": int((usable & ~matching).sum()),
        "not the dominant hand": int((usable & matching).sum()) - len(picture),
    }
    if not len(picture):
        raise ValueError(f"{path}: no usable hand ({listed(reasons)})")
    numbers = rows["picture"][picture]
    table = FrameTable(
        names=[f"{n:05d}/{('left', 'right')[s]}" for n, s in zip(numbers, side, strict=True)],
        numbers=2 * numbers,  # never consecutive: stills
        files=[_image(folder / "color", number) for number in numbers.tolist()],
        intrinsics=rows["K"][picture],
        left=side == 0,
        pictures=[f"{n:05d}" for n in numbers],
        joints=rows["joints"][picture, side].astype(np.float64),
        visible=rows["visible"][picture, side],
    )
    return table, reasons


def _dominant(
    visible: Int[np.ndarray, "n 2"], extent: Float[np.ndarray, "n 2"]
) -> Bool[np.ndarray, "n 2"]:
    """The hand of each picture with more visible joints, or the larger one if equal."""
    rank = visible + 1e-6 * extent
    right = rank[:, 1] > rank[:, 0]
    return np.stack([~right, right], 1)


def _image(folder: Path, number: int) -> Path:
    """A picture's file: png as published, or jpg."""
    for suffix in (".png", ".jpg"):
        if (path := folder / f"{number:05d}{suffix}").is_file():
            return path
    raise FileNotFoundError(
        f"{folder / f'{number:05d}'}.png: no such picture, and no .jpg; unpack the whole archive"
    )


def read_annotations(path: Path) -> dict[str, np.ndarray]:
    """The rows of an annotation file (:data:`_LAYOUT`), by picture; read once, then cached.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: naming the file, the picture and the malformed value.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; root must hold training/ and evaluation/")

    def read() -> tuple[int, Iterator[dict[str, np.ndarray]]]:
        content = read_pickle(path, NUMPY, MAX_ANNOTATION_BYTES, "an annotation file of RHD")
        if not isinstance(content, dict) or not content:
            raise ValueError(f"{path} is not a dict of pictures; is this RHD's anno file?")
        return len(content), _rows(path, content)

    return read_once("rhd-labels", _VERSION, [path], _LAYOUT, read)


def _rows(path: Path, content: Mapping[Any, Any]) -> Iterator[dict[str, np.ndarray]]:
    """One row for each picture, sorted by number."""
    if not all(type(key) is int and 0 <= key < 10**6 for key in content):
        raise ValueError(f"{path}: its keys are not picture numbers")
    for picture in sorted(content):
        entry = content[picture]
        try:
            row = _row(entry)
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}, picture {picture:05d}: {error}") from error
        yield {"picture": np.array([picture]), **{name: row[name][None] for name in row}}


def _row(entry: Any) -> dict[str, np.ndarray]:
    if not isinstance(entry, dict):
        raise ValueError(f"a {type(entry).__name__} where a dict of xyz, uv_vis and K is expected")
    xyz = _numbers(entry, "xyz", (2 * NUM_JOINTS, 3)).reshape(2, NUM_JOINTS, 3)
    uv_vis = _numbers(entry, "uv_vis", (2 * NUM_JOINTS, 3)).reshape(2, NUM_JOINTS, 3)
    K = _numbers(entry, "K", (3, 3))
    if any(np.isnan(values).all() for values in (xyz, uv_vis, K)):
        K = np.full((3, 3), np.nan)  # None: the picture cannot be used
    seen = np.nan_to_num(uv_vis[..., 2]) > 0.5
    box = np.where(seen[..., None], uv_vis[..., :2], np.nan)
    extent = [np.ptp(hand[used], axis=0).max() if used.any() else 0.0
              for hand, used in zip(box, seen, strict=True)]  # fmt: skip
    with np.errstate(all="ignore"):  # invisible hands may be behind the camera
        projected = xyz @ K.T
        off = np.linalg.norm(projected[..., :2] / projected[..., 2:] - uv_vis[..., :2], axis=-1)
    off = np.where(seen & (xyz[..., 2] > 0), np.nan_to_num(off, nan=np.inf), 0.0)
    return {
        "K": K,
        "joints": xyz[:, list(TO_COMMON["rhd"])],
        "visible": seen[:, list(TO_COMMON["rhd"])],
        "extent": np.array(extent),
        "off_px": off.max(1).clip(max=1e6),
    }


def _numbers(entry: Mapping[str, Any], key: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array of an annotation; NaN for None."""
    if key not in entry:
        raise ValueError(f"no {key!r} in it; is this RHD's anno file?")
    value = entry[key]
    if value is None:
        return np.full(shape, np.nan)
    if not isinstance(value, Array):
        raise ValueError(f"{key} is a {type(value).__name__}, not an array")
    array = to_array(value)
    if array.shape != shape:
        raise ValueError(f"{key} has shape {array.shape}, expected {shape}")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{key} is not finite")
    return array
