"""YouTube-3D-Hands' annotation files: pictures, sides and meshes, read as one table."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import ijson
import numpy as np
from jaxtyping import Float

from s2hand.data.storage.cache import Layout, read_once
from s2hand.files.checksums import read_verified
from s2hand.geometry.skeleton import NUM_VERTICES

LABEL_RADIUS_M = 0.06
"""Root mean square distance of a label's vertices from their mean: that of a grown hand, stretched
out, so that aligned errors read as millimetres of one (our definition)."""
MAX_NAME = 200

_LAYOUT: Layout = {
    "picture": (f"|S{MAX_NAME}", ()),
    "size": ("<i8", (2,)),
    "left": ("|b1", ()),
    "vertices": ("<f4", (NUM_VERTICES, 3)),
}
"""One row per annotated hand: the picture's file below the root, UTF-8; width, height; side; the
mesh, LABEL_RADIUS_M large, at (0, 0, 1) m."""
_VERSION = 1


def read_annotations(path: Path) -> dict[str, np.ndarray]:
    """The rows of an annotation file (``_LAYOUT``), in its order; read once, then cached.

    Parsed hand by hand: the meshes are a gigabyte of text, and eight times that as Python floats.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: naming the file and what does not fit.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; root holds it and the pictures")

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
        raise ValueError(f"name {image['name']!r} leads out of the folder, or is too long")
    return name


def _vertices(hand: Mapping[str, Any]) -> Float[np.ndarray, "778 3"]:
    vertices = np.asarray(hand["vertices"], np.float32)
    if vertices.shape != (NUM_VERTICES, 3) or not np.isfinite(vertices).all():
        raise ValueError(f"vertices of shape {vertices.shape}, expected finite (778, 3)")
    vertices = vertices - vertices.mean(0)
    radius = np.sqrt(np.square(vertices).sum(-1).mean())
    if not radius > 0:
        raise ValueError("vertices that are one point")
    return vertices * (LABEL_RADIUS_M / radius) + np.array([0, 0, 1], np.float32)
