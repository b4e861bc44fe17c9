"""YouTube-3D-Hands: pictures from videos of uncalibrated cameras; right and left hands.

Format: Kulon et al., "Weakly-Supervised Mesh-Convolutional Hand Reconstruction in the Wild" (CVPR
2020). All facts about the files are from memory (M): a COCO-like JSON per split with images
(``name``, ``width``, ``height``, ``id``) and annotations (``vertices``, 778 x 3 in pixels,
``is_left``, ``image_id``, ``id``).

The meshes are in pixels, without camera or metric size. As labels they are shapes, which can be
compared only after Procrustes alignment. K is an assumption, as for uncalibrated photographs.
"""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import ijson
import numpy as np
from jaxtyping import Float

from s2hand.data.crops import CROP_PX
from s2hand.data.detections.base import Detections
from s2hand.data.intrinsics import full_intrinsics
from s2hand.data.recorded.base import RecordedDataset
from s2hand.data.recorded.frame_table import FrameTable
from s2hand.data.storage.cache import Layout, read_once
from s2hand.files.checksums import read_verified
from s2hand.geometry.skeleton import NUM_VERTICES

logger = logging.getLogger(__name__)

Split = Literal["train", "val", "test"]
LABEL_RADIUS_M = 0.06
"""Root mean square distance of a label's vertices from their mean: that of a stretched adult hand,
so that aligned errors are in millimetres of such a hand (our definition)."""
MAX_NAME = 200

_LAYOUT: Layout = {
    "picture": (f"|S{MAX_NAME}", ()),
    "size": ("<i8", (2,)),
    "left": ("|b1", ()),
    "vertices": ("<f4", (NUM_VERTICES, 3)),
}
"""One row per annotated hand: the picture's file below the root, UTF-8; width, height; side; the
mesh, of radius LABEL_RADIUS_M, centred at (0, 0, 1) m."""
_VERSION = 1


class YouTubeDataset(RecordedDataset):
    """The annotated hands, one sample each (``.../frame/left``); left ones are mirrored.

    From the annotations, training uses only which hands a picture shows. Two annotated hands of
    one side in a picture cannot be matched with detections; they are dropped and counted. Training
    and validation also drop hands without a detection; for those the test split uses the whole
    picture.

    Args:
        root: the folder that holds ``youtube_<split>.json`` and the pictures.
        detections: a path for :func:`read_detections`, or its result. A file that records sides
            is joined by picture (its path without suffix) and side, any other by sample. Optional
            (None) for the test split.
        split: ``train``, ``val`` or ``test``.
        horizontal_fov_deg: field of view that gives K; the principal point is the picture's centre.
        image_px: side of the image tensor.
        margin: side of the crop as a multiple of the keypoints' extent.
        labels: return the annotated meshes as vertices, all of one size (:data:`LABEL_RADIUS_M`),
            one metre in front of the camera. There are no joints (NaN).
        skip: names of training frames to leave out, such as unreadable ones.

    Raises:
        FileNotFoundError: for the first missing file.
        ValueError: for an annotation file of another format, and detections with other names.
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
        table, dropped = _read_table(root, split, horizontal_fov_deg, labels)
        super().__init__(
            table,
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
    root: Path, split: Split, horizontal_fov_deg: float, labels: bool
) -> tuple[FrameTable, dict[str, int]]:
    """The hands of a split by picture and side, and the number left out."""
    path = root / f"youtube_{split}.json"
    rows = read_annotations(path)
    pictures = [picture.decode() for picture in rows["picture"].tolist()]
    sides = ["left" if left else "right" for left in rows["left"].tolist()]
    names = [
        f"{PurePosixPath(picture).with_suffix('')}/{side}"
        for picture, side in zip(pictures, sides, strict=True)
    ]
    counts = Counter(names)
    kept = sorted((r for r, name in enumerate(names) if counts[name] == 1), key=names.__getitem__)
    if not kept:
        raise ValueError(f"{path}: no picture has exactly one annotated hand of a side")
    files = [Path(root, pictures[row]) for row in kept]
    if missing := [file for file in files if not file.is_file()]:
        raise FileNotFoundError(f"{missing[0]}: no such picture ({len(missing)} of {len(files)})")
    sizes = rows["size"][kept]
    table = FrameTable(
        names=[names[row] for row in kept],
        numbers=2 * np.arange(len(kept)),  # never consecutive: stills
        files=files,
        intrinsics=full_intrinsics(sizes, None, None, horizontal_fov_deg, root).numpy(),
        left=np.asarray(rows["left"][kept]),
        pictures=[names[row].rpartition("/")[0] for row in kept],
        vertices=rows["vertices"][kept] if labels else None,
        sizes=sizes,
    )
    return table, {"two hands of one side": len(names) - len(kept)}


def read_annotations(path: Path) -> dict[str, np.ndarray]:
    """The rows of an annotation file (``_LAYOUT``), in its order; read once, then cached.

    Parsed hand by hand: the meshes are a gigabyte of text, and eight times that as Python floats.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: naming the file and the malformed value.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; root holds this file and the pictures")

    def read() -> tuple[int, list[dict[str, np.ndarray]]]:
        try:
            rows = list(_rows(read_verified(path)))
        except (KeyError, TypeError, AttributeError, ValueError, ijson.JSONError) as error:
            raise ValueError(
                f"{path}: {type(error).__name__} {error}; expected images (name, width, height, "
                "id) and annotations (vertices, is_left, image_id)"
            ) from error
        return len(rows), rows

    return read_once("youtube-labels", _VERSION, [path], _LAYOUT, read)


def _rows(content: bytes) -> Iterator[dict[str, np.ndarray]]:
    def items(where: str) -> Iterator[Any]:
        return iter(ijson.items(io.BytesIO(content), where, use_float=True))

    images = {image["id"]: image for image in items("images.item")}
    for hand in items("annotations.item"):
        image = images[hand["image_id"]]
        size = int(image["width"]), int(image["height"])
        if min(size) <= 0:
            raise ValueError(f"the size of a picture is not positive: {size}")
        row = (_picture(image), size, bool(hand["is_left"]), _vertices(hand))
        yield {
            name: np.array(value, kind)[None]
            for (name, (kind, _)), value in zip(_LAYOUT.items(), row, strict=True)
        }


def _picture(image: Mapping[str, Any]) -> bytes:
    file = PurePosixPath(image["name"])
    name = file.as_posix().encode()
    if file.is_absolute() or ".." in file.parts or len(name) > MAX_NAME:
        raise ValueError(f"name {image['name']!r} leads out of the folder or is too long")
    return name


def _vertices(hand: Mapping[str, Any]) -> Float[np.ndarray, "778 3"]:
    vertices = np.asarray(hand["vertices"], np.float32)
    if vertices.shape != (NUM_VERTICES, 3) or not np.isfinite(vertices).all():
        raise ValueError(f"vertices of shape {vertices.shape}, expected finite (778, 3)")
    vertices = vertices - vertices.mean(0)
    radius = np.sqrt(np.square(vertices).sum(-1).mean())
    if not radius > 0:
        raise ValueError("all vertices are one point")
    return vertices * (LABEL_RADIUS_M / radius) + np.array([0, 0, 1], np.float32)
