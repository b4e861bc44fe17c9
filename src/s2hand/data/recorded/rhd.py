"""RHD: rendered pictures of people, 320 x 320, with both of their hands labelled.

Format: the Rendered Handpose Dataset of Zimmermann and Brox (ICCV 2017). Joints are those of the
characters' own skeletons, in no mesh convention; OpenCV axes, metres. Stills, no sequences.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from s2hand.data.checks import listed
from s2hand.data.crops import CROP_PX
from s2hand.data.detections.base import Detections
from s2hand.data.recorded.base import RecordedDataset
from s2hand.data.recorded.frame_table import FrameTable
from s2hand.data.recorded.rhd_labels import read_annotations
from s2hand.geometry.skeleton import NUM_JOINTS

logger = logging.getLogger(__name__)

Split = Literal["train", "evaluation"]
Hands = Literal["each", "dominant"]
MAX_OFF_PX = 10.0
"""Labels whose 3D and 2D lie further apart are damaged."""
FOLDERS = {"train": "training", "evaluation": "evaluation"}


class RhdDataset(RecordedDataset):
    """The visible hands of RHD's pictures, one sample each; left hands are mirrored.

    A hand is a sample when at least ``min_visible`` of its 21 joints are visible (``uv_vis``).
    Pictures whose annotation has None in it, and hands whose 3D joints do not project onto their 2D
    ones, are dropped and counted in training and refused in the evaluation. Training drops hands
    without detection, too; evaluation takes the whole picture.

    Args:
        root: the folder that holds ``training`` and ``evaluation``.
        detections: the path that :func:`read_detections` reads, or what it returns. Where the file
            knows sides it is joined by picture (``00012``) and side, else, and where it is read
            already, by sample (``00012/left``). Evaluation may do without (None).
        split: ``train`` or ``evaluation``.
        hands: ``each`` visible hand, or of every picture the ``dominant`` one: more joints
            visible, of equals the larger one. Published numbers are of one hand for each picture;
            how the original chooses it, from memory, is by pixels of its mask.
        min_visible: joints, 1 to 21 (our definition).
        image_px: side of the image tensor.
        margin: side of the crop as a multiple of the keypoints' extent.
        labels: give joints, invisible ones too, which its benchmark leaves out. There are no
            vertices (NaN).
        skip: names of training samples (``00012/left``) to leave out.

    Raises:
        FileNotFoundError: for the first missing file that is needed.
        ValueError: for malformed annotations, ones that name code, detections of other names, and
            labels behind the camera.
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
    """The samples of a split by picture, left hand first; hands left out, by reason."""
    folder = root / FOLDERS[split]
    path = folder / f"anno_{FOLDERS[split]}.pickle"
    rows = read_annotations(path)
    complete = np.isfinite(rows["K"]).all((1, 2))
    if split == "evaluation" and not complete.all():
        picture = rows["picture"][int(np.argmin(complete))]
        raise ValueError(f"{path}: None in picture {picture:05d}; the evaluation keeps every one")
    shown = rows["visible"].sum(-1)
    usable = (shown >= min_visible) & complete[:, None]
    matching = rows["off_px"] <= MAX_OFF_PX
    if split == "evaluation" and not matching[usable].all():
        wrong = np.argwhere(usable & ~matching)[0][0]
        raise ValueError(
            f"{path}: xyz of picture {rows['picture'][wrong]:05d} projects "
            f"{rows['off_px'][wrong].max():.0f} px beside its uv_vis; is the file damaged?"
        )
    chosen = usable & matching
    if hands == "dominant":
        chosen &= _dominant(shown, rows["extent"])
    picture, side = np.nonzero(chosen)
    reasons = {
        "None in the annotation": 2 * int((~complete).sum()),
        f"fewer than {min_visible} joints visible": int((complete[:, None] & ~usable).sum()),
        f"3D more than {MAX_OFF_PX:.0f} px beside its 2D": int((usable & ~matching).sum()),
        "not the dominant hand": int((usable & matching).sum()) - len(picture),
    }
    if not len(picture):
        raise ValueError(f"{path}: no usable hand ({listed(reasons)})")
    numbers = rows["picture"][picture]
    table = FrameTable(
        names=[f"{n:05d}/{('left', 'right')[s]}" for n, s in zip(numbers, side, strict=True)],
        numbers=2 * numbers,  # never one after the other
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
    """The hand of each picture that shows more joints, of equals the larger one."""
    rank = visible + 1e-6 * extent
    right = rank[:, 1] > rank[:, 0]
    return np.stack([~right, right], 1)


def _image(folder: Path, number: int) -> Path:
    """A picture's file: png as published, or jpg."""
    for suffix in (".png", ".jpg"):
        if (path := folder / f"{number:05d}{suffix}").is_file():
            return path
    raise FileNotFoundError(
        f"{folder / f'{number:05d}'}.png: no such picture, nor a jpg; unpack the whole archive"
    )
