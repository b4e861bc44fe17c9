"""The container: whatever is put into it, its parts begin where the format wants them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from fixtures.gltf import Glb
from s2hand.export.gltf import Binary, glb


def test_arrays_of_any_length_come_back_aligned(tmp_path: Path) -> None:
    arrays = [
        np.arange(3, dtype=np.uint8),
        np.arange(15, dtype=np.uint16).reshape(5, 3),
        np.arange(32, dtype=np.float32).reshape(2, 4, 4),
        np.arange(1, dtype=np.uint8),
    ]
    binary = Binary()
    numbers = [binary.add(array) for array in arrays]
    assert numbers == [0, 1, 2, 3]
    (tmp_path / "a.glb").write_bytes(glb({"asset": {"version": "2.0"}, "x": "odd"}, binary))
    read = Glb(tmp_path / "a.glb")
    for number, array in zip(numbers, arrays, strict=True):
        np.testing.assert_array_equal(read.array(number).ravel(), array.ravel())
    assert all(view["byteOffset"] % 4 == 0 for view in read.tree["bufferViews"])
    assert read.tree["buffers"] == [{"byteLength": len(binary.data)}]


@pytest.mark.parametrize("text", ["", "a", "ab", "abc"])
def test_chunks_are_padded_whatever_the_text(text: str) -> None:
    content = glb({"asset": {"version": "2.0"}, "x": text}, Binary())
    size = struct.unpack("<I", content[12:16])[0]
    assert size % 4 == len(content) % 4 == 0
    assert content[20 : 20 + size].rstrip(b" ").endswith(b"}")


def test_bounds_are_by_column() -> None:
    binary = Binary()
    binary.add(np.array([[1, 5, 3], [4, 2, 6]], np.float32), bounds=True)
    binary.add(np.array([2, 7], np.float32), bounds=True)
    assert [a["min"] for a in binary.accessors] == [[1, 2, 3], [2]]
    assert [a["max"] for a in binary.accessors] == [[4, 5, 6], [7]]


def test_numbers_that_json_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        glb({"x": float("nan")}, Binary())
