"""Pickles as data: what is read, and that nothing else is even looked up."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2hand.files import pickles
from s2hand.files.pickles import NUMPY, named_objects, read_pickle, to_array


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
def test_anything_else_is_refused_by_name_before_anything_runs(
    tmp_path: Path, protocol: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def must_not_run(*args: Any) -> None:
        raise AssertionError("an object was made before the refusal")

    monkeypatch.setattr(pickles, "_Unpickler", must_not_run)
    data = pickle.dumps({"K": np.zeros(3), "evil": Hostile(tmp_path / "touched")}, protocol)
    with pytest.raises(ValueError, match=r"evil\.pkl: refused, it names .*posix\.system.*test"):
        read(tmp_path / "evil.pkl", data)
    assert not (tmp_path / "touched").exists()


def test_the_unpickler_itself_refuses_what_the_scan_would_miss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickles, "named_objects", lambda data: [])
    with pytest.raises(ValueError, match=r"refused: posix\.system"):
        read(tmp_path / "evil.pkl", pickle.dumps(Hostile(tmp_path / "touched"), 2))
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"Pstranger\n.", "PERSID"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x02(iposix\nsystem\n.", "posix.system"),
        # builtins.eval named through the memo, which a scan of strings alone would miss
        (b"\x80\x04\x8c\x08builtins\x94\x8c\x04eval\x94h\x00h\x01\x93.", r"builtins\.eval"),
        # two strings, but by the time they are a name something else has touched the stack
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval20\x93.", "run time"),
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "memo index"),
        (b"\x80\x02}q\x00", "not a readable pickle"),
        (b"MANO", "not a readable pickle"),
        (b"", "not a readable pickle"),
    ],
)
def test_pickles_that_dodge_the_scan_are_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        read(tmp_path / "odd.pkl", data)
    assert "odd.pkl" in str(caught.value)


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


def test_named_objects_lists_names_of_every_protocol() -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        names = named_objects(pickle.dumps(os.path.join, protocol))
        assert names == [("posixpath", "join")]
