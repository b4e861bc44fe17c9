"""RHD's annotation files: pickles of every picture's joints, which joints are visible, and K."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from s2hand.data.storage.cache import Layout, read_once
from s2hand.files.pickles import NUMPY, Array, read_pickle, to_array
from s2hand.geometry.skeleton import NUM_JOINTS, TO_COMMON

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
"""One row per picture: its number, K, joints (left hand first, common order), which of them are
visible, the longer side of each hand's box, and how far the projected joints lie from ``uv_vis`` at
most, pixels. NaN: None in the file."""
_VERSION = 2


def read_annotations(path: Path) -> dict[str, np.ndarray]:
    """The rows of an annotation file (:data:`_LAYOUT`), by picture; read once, then cached.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: naming the file, the picture and what does not fit.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; root must hold training/ and evaluation/")

    def read() -> tuple[int, Iterator[dict[str, np.ndarray]]]:
        content = read_pickle(path, NUMPY, MAX_ANNOTATION_BYTES, "an annotation file of RHD")
        if not isinstance(content, dict) or not content:
            raise ValueError(f"{path} holds no dict of pictures; is this RHD's anno file?")
        return len(content), _rows(path, content)

    return read_once("rhd-labels", _VERSION, [path], _LAYOUT, read)


def _rows(path: Path, content: Mapping[Any, Any]) -> Iterator[dict[str, np.ndarray]]:
    """One row for each picture, sorted by number."""
    if not all(type(key) is int and 0 <= key < 10**6 for key in content):
        raise ValueError(f"{path}: its keys are not the numbers of pictures")
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
    with np.errstate(all="ignore"):  # hands that are not visible may lie behind the camera
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
