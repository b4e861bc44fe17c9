"""MANO's original pickle files, read as data: no code of the file or of any library runs.

``MANO_RIGHT.pkl`` was written by Python 2 with numpy, scipy and chumpy objects. Unpickling it the
ordinary way needs chumpy (which no longer installs) and runs any function that the file names.
Here :mod:`s2hand.files.pickles` reads it with passive stubs for the few classes that such files
name, and arrays are built from the stubs' contents.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from s2hand.files import pickles
from s2hand.files.pickles import Stub, read_pickle

MAX_FILE_BYTES = 256 * 2**20
"""MANO's files hold about 4 MB; a much larger file is something else."""


class _SparseColumns(Stub):
    """``scipy.sparse.csc_matrix``: state {data, indices, indptr, _shape}."""


class _Ch(Stub):
    """``chumpy.ch.Ch``: state {x}."""


class _Select(Stub):
    """``chumpy.reordering.Select``: state {a, idxs, preferred_shape}, entries of ``a``."""


ALLOWED: dict[tuple[str, str], Any] = {
    **pickles.NUMPY,
    ("scipy.sparse.csc", "csc_matrix"): _SparseColumns,
    ("scipy.sparse._csc", "csc_matrix"): _SparseColumns,
    ("chumpy.ch", "Ch"): _Ch,
    ("chumpy.reordering", "Select"): _Select,
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
}
"""Every (module, name) a MANO file may name; old and new module paths of the same classes."""


def _selected(state: dict[str, Any]) -> np.ndarray:
    """chumpy's ``Select``: ``a.ravel()[idxs]``, then ``preferred_shape`` if set."""
    source, index = to_array(state["a"]).ravel(), to_array(state["idxs"]).ravel()
    if index.dtype.kind not in "iu" or (
        index.size and not 0 <= index.min() <= index.max() < source.size
    ):
        raise ValueError(f"Select: indices outside 0..{source.size - 1}")
    picked = source[index]
    shape = state.get("preferred_shape")
    return picked if shape is None else picked.reshape(tuple(int(n) for n in shape))


def _dense(state: dict[str, Any]) -> np.ndarray:
    """A dense array from the state of a compressed-sparse-column matrix."""
    shape = tuple(int(n) for n in state.get("_shape", state.get("shape", ())))
    rows, starts = to_array(state["indices"]), to_array(state["indptr"])
    if len(shape) != 2 or not 0 < math.prod(shape) <= 2**24 or starts.size != shape[1] + 1:
        raise ValueError(f"sparse matrix of shape {shape} with {starts.size} column starts")
    if rows.size and not 0 <= rows.min() <= rows.max() < shape[0]:
        raise ValueError(f"sparse matrix of shape {shape}: a row index outside it")
    dense = np.zeros(shape)
    columns = np.repeat(np.arange(shape[1]), np.diff(starts))
    np.add.at(dense, (rows, columns), to_array(state["data"]))
    return dense


def to_array(value: Any) -> np.ndarray:
    """The numeric array that a stub (or an array of the file) stands for."""
    if isinstance(value, pickles.Array):
        return pickles.to_array(value)
    if isinstance(value, Stub) and isinstance(value.state, dict):
        try:
            if isinstance(value, _Ch):
                return to_array(value.state["x"])
            if isinstance(value, _Select):
                return _selected(value.state)
            if isinstance(value, _SparseColumns):
                return _dense(value.state)
        except KeyError as error:
            raise ValueError(f"{type(value).__name__[1:]} without its {error}") from error
    raise ValueError(f"expected an array, found {type(value).__name__.lstrip('_')}")


def read_mano_pickle(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a MANO pickle by key; entries that are not arrays (names, styles) are left out.

    Raises :class:`ValueError` naming the file and the reason: too large, not a pickle, naming
    anything outside :data:`ALLOWED`, object arrays, or sizes that the bytes do not fill.
    """
    content = read_pickle(path, ALLOWED, MAX_FILE_BYTES, "a MANO file")
    try:
        if not isinstance(content, dict):
            raise ValueError(
                f"holds a {type(content).__name__}, a MANO file holds a dict of arrays"
            )
        return {str(k): to_array(v) for k, v in content.items() if isinstance(v, Stub)}
    except Exception as error:  # damaged content can raise anything; all of it is "unreadable"
        raise ValueError(f"{path}: {error}") from error
