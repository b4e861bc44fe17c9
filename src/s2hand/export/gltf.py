"""The container of glTF 2.0: numbers in one binary chunk, described by one JSON chunk."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

ATTRIBUTES, INDICES = 34962, 34963
"""Purpose of a mesh's buffer view: vertex attributes or faces."""

_COMPONENTS = {np.uint8: 5121, np.uint16: 5123, np.float32: 5126}
_TYPES: dict[tuple[int, ...], str] = {(): "SCALAR", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}


class Binary:
    """The numbers of a file: arrays end to end, each with its buffer view and its accessor."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(
        self,
        array: np.ndarray,
        target: int | None = None,
        bounds: bool = False,
        normalized: bool = False,
    ) -> int:
        """Append n rows and return the accessor's number.

        Arrays begin at multiples of 4 bytes; the rows of vertex attributes must be multiples of 4
        bytes long themselves.

        Args:
            array: [n], [n, 3], [n, 4] or [n, 4, 4] (columns before rows) of uint8, uint16 or
                float32.
            target: :data:`ATTRIBUTES` or :data:`INDICES`; None for arrays that do not belong to a
            mesh. bounds: write the minimum and maximum, as positions and times need. normalized:
            integers represent 0..1.
        """
        content = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content)}
        accessor: dict[str, Any] = {
            "bufferView": len(self.views),
            "componentType": _COMPONENTS[array.dtype.type],
            "count": len(array),
            "type": _TYPES[array.shape[1:]],
        }
        if bounds:
            rows = array.reshape(len(array), -1)
            accessor |= {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
        if normalized:
            accessor["normalized"] = True
        self.views.append(view if target is None else {**view, "target": target})
        self.accessors.append(accessor)
        self.data += content + bytes(-len(content) % 4)
        return len(self.accessors) - 1


def glb(tree: dict[str, Any], binary: Binary) -> bytes:
    """The file: header, JSON chunk and binary chunk, both multiples of 4 bytes long.

    Raises:
        ValueError: if a number of the tree is not finite.
    """
    tree = {
        **tree,
        "accessors": binary.accessors,
        "bufferViews": binary.views,
        "buffers": [{"byteLength": len(binary.data)}],
    }
    text = json.dumps(tree, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    chunks = [(text, b"JSON"), (bytes(binary.data), b"BIN\0")]
    body = b"".join(struct.pack("<I4s", len(data), kind) + data for data, kind in chunks)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body
