"""Pickles as data: what is read, and that nothing else is even looked up."""

from __future__ import annotations

import os
import pickle
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2hand.files.pickles import NUMPY, read_pickle, to_array


def read(path: Path, data: bytes, max_bytes: int = 2**20) -> Any:
    path.write_bytes(data)
    return read_pickle(path, NUMPY, max_bytes, "a test file")


class Hostile:
    """Makes a file when it is unpickled the ordinary way."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize(
    ("protocol", "old_numpy"), [*((p, False) for p in range(5)), (0, True), (2, True)]
)
def test_arrays_of_every_protocol_and_numpy_are_read(
    tmp_path: Path, protocol: int, old_numpy: bool
) -> None:
    values = {
        "doubles": np.random.default_rng(0).standard_normal((3, 4)),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(5, dtype=">i4"),
        "empty": np.zeros((0, 3)),
    }
    content = {**values, "none": None, "name": "mug", "label": np.int64(3)}
    data = pickle.dumps(content, protocol)
    if old_numpy:
        data = data.replace(b"numpy._core.multiarray\n", b"numpy.core.multiarray\n")
    found = read(tmp_path / "a.pkl", data)
    for name, value in values.items():
        array = to_array(found[name])
        np.testing.assert_array_equal(array, value)
        assert array.dtype.isnative
    assert (found["none"], found["name"]) == (None, "mug")
    assert to_array(found["label"]).shape == ()
    assert to_array(found["label"]) == 3


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_anything_else_is_refused_by_name_and_does_not_run(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps({"evil": Hostile(tmp_path / "touched"), "K": np.zeros(3)}, protocol)
    with pytest.raises(ValueError, match=r"evil\.pkl: refused, it names posix\.system.*test"):
        read(tmp_path / "evil.pkl", data)
    assert not (tmp_path / "touched").exists()


def test_a_named_module_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_on_import.py").write_text("thing = 1")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"evil_on_import\.thing"):
        read(tmp_path / "evil.pkl", b"cevil_on_import\nthing\n.")
    assert "evil_on_import" not in sys.modules


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"Pstranger\n.", "persistent id"),
        (b"\x80\x02\x82\x01.", "extension code 1"),
        (b"\x80\x02(iposix\nsystem\n.", "posix.system"),
        # builtins.eval named through the memo
        (b"\x80\x04\x8c\x08builtins\x94\x8c\x04eval\x94h\x00h\x01\x93.", r"builtins\.eval"),
        # builtins.eval named by strings with a value popped between them
        (b"\x80\x04\x8c\x08builtinsN0\x8c\x04eval\x93.", r"builtins\.eval"),
        (b"\x80\x02}q\x00", "not a readable pickle: EOFError"),
        (b"MANO", "not a readable pickle"),
        (b"", "not a readable pickle"),
    ],
)
def test_odd_pickles_are_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        read(tmp_path / "odd.pkl", data)
    assert "odd.pkl" in str(caught.value)


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x80\x02Nr" + (2**24).to_bytes(4, "little") + b".",  # a large index of the memo
        b"\x80\x05\x96" + (2**28).to_bytes(8, "little") + b".",  # a bytearray of 256 MiB
        b"\x80\x04\x8e" + (2**28).to_bytes(8, "little") + b".",  # bytes of 256 MiB
        b"\x80\x04\x95" + (2**28).to_bytes(8, "little") + b".",  # a frame of 256 MiB
    ],
    ids=["memo", "bytearray", "bytes", "frame"],
)
def test_sizes_that_a_small_file_states_allocate_nothing(tmp_path: Path, bomb: bytes) -> None:
    tracemalloc.start()
    with suppress(ValueError):
        read(tmp_path / "bomb.pkl", bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_object_arrays_are_refused(tmp_path: Path) -> None:
    stub = read(tmp_path / "a.pkl", pickle.dumps(np.array([1, None], dtype=object), 2))
    with pytest.raises(ValueError, match="type 'O8'"):
        to_array(stub)


def test_an_array_larger_than_its_bytes_is_refused_without_allocating(tmp_path: Path) -> None:
    data = pickle.dumps(np.zeros(7), 2)
    assert data.count(b"K\x07\x85") == 1  # the tuple (7,)
    huge = data.replace(b"K\x07\x85", b"\x8a\x05" + (10**11).to_bytes(5, "little") + b"\x85")
    with pytest.raises(ValueError, match="needs 800000000000 bytes, has 56 bytes"):
        to_array(read(tmp_path / "a.pkl", huge))


def test_a_file_of_impossible_size_is_refused_unread(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.pkl: 4 bytes, which is too large for a test file"):
        read(tmp_path / "a.pkl", b"MANO", max_bytes=3)
