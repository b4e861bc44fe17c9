from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_matrix

from fixtures.mano_pickles import chumpy_classes, python2_pickle, write_mano_pickle
from s2hand.hand import mano_pickle
from s2hand.hand.mano_pickle import ALLOWED, read_mano_pickle
from s2hand.hand.model_file import load_hand_model


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_reads_every_array_of_a_mano_file_without_chumpy(tmp_path):
    model = load_hand_model()
    arrays = read_mano_pickle(write_mano_pickle(model, tmp_path / "MANO_RIGHT.pkl"))
    assert "chumpy" not in sys.modules
    for key in ("v_template", "weights", "shapedirs", "posedirs", "J_regressor", "hands_coeffs"):
        np.testing.assert_array_equal(arrays[key], getattr(model, key), err_msg=key)
    np.testing.assert_array_equal(arrays["f"], model.faces)
    assert "bs_type" not in arrays


def test_select_takes_the_entries_that_its_indices_name(tmp_path):
    with chumpy_classes() as (Ch, Select):
        source, select = Ch(), Select()
        source.x = np.array([10.0, 11.0, 12.0, 13.0])
        select.a, select.idxs, select.preferred_shape = source, np.array([3, 0]), (1, 2)
        data = python2_pickle({"s": select})
    assert read_mano_pickle(_write(tmp_path / "a.pkl", data))["s"].tolist() == [[13.0, 10.0]]


def test_new_module_paths_and_dtypes_are_read_too(tmp_path):
    values = np.arange(6, dtype=">f4").reshape(2, 3)
    sparse = csc_matrix(np.array([[0.0, 2.0], [3.0, 0.0]]))
    data = python2_pickle({"big": values, "sparse": sparse})
    data = data.replace(b"cnumpy.core.multiarray\n", b"cnumpy._core.multiarray\n")
    data = data.replace(b"cscipy.sparse.csc\n", b"cscipy.sparse._csc\n")
    arrays = read_mano_pickle(_write(tmp_path / "a.pkl", data))
    np.testing.assert_array_equal(arrays["big"], values)
    assert arrays["big"].dtype == np.float32
    np.testing.assert_array_equal(arrays["sparse"], sparse.toarray())


class _Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_anything_else_is_refused_by_name_and_does_not_run(tmp_path, protocol):
    content = {"evil": _Hostile(tmp_path / "touched"), "v_template": np.zeros(3)}
    path = _write(tmp_path / "evil.pkl", pickle.dumps(content, protocol))
    with pytest.raises(ValueError, match=r"evil\.pkl: refused, it names posix\.system"):
        read_mano_pickle(path)
    assert not (tmp_path / "touched").exists()


def test_the_allow_list_is_exact():
    assert {name for _, name in ALLOWED} == {
        *("_reconstruct", "ndarray", "dtype", "scalar", "encode", "bytes"),
        *("csc_matrix", "Ch", "Select", "set"),
    }


@pytest.mark.parametrize("content", [{1, 2}, [1.0], "MANO"])
def test_a_pickle_of_something_else_is_refused(tmp_path, content):
    with pytest.raises(ValueError, match=r"odd\.pkl: holds a (set|list|str), a MANO file holds"):
        read_mano_pickle(_write(tmp_path / "odd.pkl", python2_pickle(content)))


def test_indices_outside_their_source_are_refused(tmp_path):
    with chumpy_classes() as (Ch, Select):
        source, select = Ch(), Select()
        source.x, select.a, select.idxs = np.zeros(3), source, np.array([3])
        data = python2_pickle({"s": select})
    with pytest.raises(ValueError, match=r"indices outside 0\.\.2"):
        read_mano_pickle(_write(tmp_path / "a.pkl", data))


def test_a_file_of_impossible_size_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(mano_pickle, "MAX_FILE_BYTES", 3)
    with pytest.raises(ValueError, match="4 bytes, which is too large for a MANO file"):
        read_mano_pickle(_write(tmp_path / "a.pkl", b"MANO"))


_SMALL = python2_pickle({"a": np.arange(3.0), "b": csc_matrix(np.eye(2)), "c": {1, 2}})


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(_SMALL) - 1), st.integers(0, 255)), max_size=4))
def test_damaged_files_give_arrays_or_a_value_error(tmp_path_factory, damage):
    data = bytearray(_SMALL)
    for position, byte in damage:
        data[position] = byte
    path = _write(tmp_path_factory.getbasetemp() / "damaged.pkl", bytes(data))
    try:
        arrays = read_mano_pickle(path)
    except ValueError:
        return
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
