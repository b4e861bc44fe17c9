"""InterHand2.6M's annotation files: images, cameras and world-space joints, read as one table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float

from s2hand.data.storage.cache import Layout, read_once
from s2hand.files.json import read_json
from s2hand.geometry.skeleton import NUM_JOINTS, TO_COMMON

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
position in HAND_TYPES; K; and of a single hand the joints: camera space, metres, common order, NaN
where they are not valid."""
_VERSION = 2


def read_annotations(root: Path, split: str) -> dict[str, np.ndarray]:
    """The rows of a split (``_LAYOUT``), sorted by file's folder and frame; read once, then cached.

    The three JSON files lie in ``annotations/<split>``, or in ``annotations/all`` of the first
    release.

    Raises:
        FileNotFoundError: if one of them is missing.
        ValueError: naming the file and what does not fit.
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
    """The table of the annotations, sorted; filled in place, the 30 fps release has 1.4 million."""
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
    file, view = image["file_name"], str(image["camera"])
    parts = PurePosixPath(file)
    name = file.encode()
    if parts.is_absolute() or ".." in parts.parts or not 0 < len(name) <= MAX_NAME:
        raise ValueError("file_name leads out of the folder, or is too long")
    rig = cameras[str(image["capture"])]
    R, position = _array(rig["camrot"][view], (3, 3)), _array(rig["campos"][view], (3,))
    focal, centre = _array(rig["focal"][view], (2,)), _array(rig["princpt"][view], (2,))
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
        own = slice(NUM_JOINTS * hand, NUM_JOINTS * (hand + 1))  # right hand first
        valid = np.asarray(annotation["joint_valid"], np.float64).reshape(2 * NUM_JOINTS)[own] > 0
        valid &= valid[-1]  # without the wrist nothing is root-relative: as the official code does
        world = np.asarray(label["world_coord"], np.float64).reshape(2 * NUM_JOINTS, 3)[own]
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
