"""YouTube-3D-Hands: pictures from videos, of no calibrated camera; right and left hands.

Format: Kulon et al., "Weakly-Supervised Mesh-Convolutional Hand Reconstruction in the Wild" (CVPR
2020). Everything about the files here is from memory (M): a COCO-like JSON for each split whose
images have ``name``, ``width``, ``height`` and ``id``, its annotations ``vertices`` (778 x 3,
pixels), ``is_left``, ``image_id`` and ``id``.

The meshes are in pixels, without camera or size: as labels they are shapes, to be compared after
Procrustes alignment alone. K is an assumption, as of own photographs.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from s2hand.data.checks import read_json
from s2hand.data.crops import CROP_PX
from s2hand.data.detections import Detections
from s2hand.data.frame_table import FrameTable
from s2hand.data.intrinsics import full_intrinsics
from s2hand.data.recorded import RecordedDataset
from s2hand.geometry.skeleton import NUM_VERTICES

logger = logging.getLogger(__name__)

Split = Literal["train", "val", "test"]
LABEL_RADIUS_M = 0.06
"""Root mean square distance of a label's vertices from their mean: that of a grown hand, stretched
out, so that aligned errors read as millimetres of one (our definition)."""


class YouTubeDataset(RecordedDataset):
    """The annotated hands, one sample each (``.../frame/left``); left ones are mirrored.

    Training takes from the annotations only which hands a picture shows. Two annotated hands of one
    side in a picture cannot be told apart in detections and are dropped and counted, as in training
    and validation are hands without detection; the test split takes the whole picture for those.

    Args:
        root: the folder that holds ``youtube_<split>.json`` and the pictures below it.
        detections: the path that :func:`read_detections` reads, or what it returns. Where the file
            knows sides it is joined by picture (its path without suffix) and side, else by sample.
            The test split may do without (None).
        split: ``train``, ``val`` or ``test``.
        horizontal_fov_deg: makes K, principal point in the middle of the picture.
        image_px: side of the image tensor.
        margin: side of the crop as a multiple of the keypoints' extent.
        labels: give the annotated meshes as vertices, all of one size (:data:`LABEL_RADIUS_M`) and
            one metre before the camera, and no joints (NaN).
        skip: names of training frames to leave out, such as unreadable ones.

    Raises:
        FileNotFoundError: for the first missing file.
        ValueError: for an annotation file that is another, and detections of other names.
    """

    fps = None
    protocol = "youtube"

    def __init__(
        self,
        root: str | Path,
        detections: str | Path | Detections | None,
        split: Split = "train",
        horizontal_fov_deg: float = 60.0,
        image_px: int = CROP_PX,
        margin: float = 1.7,
        labels: bool = False,
        skip: Sequence[str] = (),
    ) -> None:
        root = Path(root)
        if split not in ("train", "val", "test"):
            raise ValueError(f"split={split!r}; use 'train', 'val' or 'test'")
        table, dropped = _read_table(root, split, horizontal_fov_deg)
        super().__init__(
            table if labels else replace(table, vertices=None),
            detections,
            keep_all=split == "test",
            image_px=image_px,
            margin=margin,
            smooth_frames=0.0,
            source=f"{root} {split}",
            dropped=dropped,
            skip=skip,
        )


def _read_table(
    root: Path, split: Split, horizontal_fov_deg: float
) -> tuple[FrameTable, dict[str, int]]:
    """The hands of a split by picture and side, and what is left out."""
    path = root / f"youtube_{split}.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; root holds it and the pictures")
    content = read_json(path)
    try:
        images = {image["id"]: image for image in content["images"]}
        hands = [(images[a["image_id"]], a) for a in content["annotations"]]
        names = [_sample(image, hand) for image, hand in hands]
        sizes = np.array([[int(i["width"]), int(i["height"])] for i, _ in hands]).reshape(-1, 2)
        meshes = np.stack([_vertices(hand) for _, hand in hands]) if hands else np.empty(0)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{path}: {type(error).__name__} {error}; expected images (name, width, height, id) "
            "and annotations (vertices, is_left, image_id)"
        ) from error
    if not (sizes > 0).all():
        raise ValueError(f"{path}: the size of a picture is not positive")
    counts = Counter(names)
    kept = [row for row in range(len(names)) if counts[names[row]] == 1]
    if not kept:
        raise ValueError(f"{path}: no picture has one annotated hand of a side")
    kept.sort(key=lambda row: names[row])
    files = [root / hands[row][0]["name"] for row in kept]
    if missing := [file for file in files if not file.is_file()]:
        raise FileNotFoundError(f"{missing[0]}: no such picture ({len(missing)} of {len(files)})")
    table = FrameTable(
        names=[names[row] for row in kept],
        numbers=2 * np.arange(len(kept)),  # never one after the other
        files=files,
        intrinsics=full_intrinsics(sizes[kept], None, None, horizontal_fov_deg, root).numpy(),
        left=np.array([names[row].endswith("/left") for row in kept]),
        pictures=[names[row].rpartition("/")[0] for row in kept],
        vertices=meshes[kept],
        sizes=sizes[kept],
    )
    return table, {"two hands of one side": len(names) - len(kept)}


def _sample(image: Mapping[str, Any], hand: Mapping[str, Any]) -> str:
    """The picture's path without suffix, and the side."""
    file = PurePosixPath(image["name"])
    if file.is_absolute() or ".." in file.parts:
        raise ValueError(f"name {image['name']!r} leads out of the folder")
    return f"{file.with_suffix('').as_posix()}/{'left' if hand['is_left'] else 'right'}"


def _vertices(hand: Mapping[str, Any]) -> Float[np.ndarray, "778 3"]:
    """The annotated mesh, LABEL_RADIUS_M large, at (0, 0, 1) m."""
    vertices = np.asarray(hand["vertices"], np.float32)
    if vertices.shape != (NUM_VERTICES, 3) or not np.isfinite(vertices).all():
        raise ValueError(f"vertices of shape {vertices.shape}, expected finite (778, 3)")
    vertices = vertices - vertices.mean(0)
    radius = np.sqrt(np.square(vertices).sum(-1).mean())
    if not radius > 0:
        raise ValueError("vertices that are one point")
    return vertices * (LABEL_RADIUS_M / radius) + np.array([0, 0, 1], np.float32)
