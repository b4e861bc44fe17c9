"""MANO's original pickle files, read as data: no code of the file or of any library runs.

``MANO_RIGHT.pkl`` was written by Python 2 with numpy, scipy and chumpy objects. Unpickling it the
ordinary way needs chumpy (which no longer installs) and executes whatever the file names. Here the
opcodes are scanned first, a file that names anything but seven known classes is refused by those
names, and the known classes are replaced by passive stubs. Arrays are then built from the stubs'
raw bytes, so neither numpy nor scipy takes part in unpickling.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

MAX_FILE_BYTES = 256 * 2**20
"""MANO's files hold about 4 MB; anything much larger is not one of them."""


class _Stub:
    """Records what a pickle says about an object, and does nothing."""

    def __init__(self, *args: Any) -> None:
        self.args = args
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Stub):
    """``numpy.ndarray``: state (version, shape, dtype, is_fortran, raw bytes)."""


class _Dtype(_Stub):
    """``numpy.dtype``: arguments (code, ...), state (version, byte order, ...)."""


class _SparseColumns(_Stub):
    """``scipy.sparse.csc_matrix``: state {data, indices, indptr, _shape}."""


class _Ch(_Stub):
    """``chumpy.ch.Ch``: state {x}."""


class _Select(_Stub):
    """``chumpy.reordering.Select``: state {a, idxs, preferred_shape}, a pick from ``a`` raveled."""


ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("scipy.sparse.csc", "csc_matrix"): _SparseColumns,
    ("scipy.sparse._csc", "csc_matrix"): _SparseColumns,
    ("chumpy.ch", "Ch"): _Ch,
    ("chumpy.reordering", "Select"): _Select,
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
}
"""Every (module, name) a MANO file may name; old and new module paths of the same classes."""

_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE"}
_STRINGS |= {"SHORT_BINUNICODE", "BINUNICODE8"}
_PUTS = {"MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_FORBIDDEN = {"PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4"}


def named_objects(data: bytes) -> list[tuple[str, str]]:
    """Every (module, name) that a pickle names, found by reading its opcodes without running them.

    Raises :class:`ValueError` for bytes that are no pickle, and for names that are only known at
    run time (persistent ids, extension codes, strings that are not literal in the file).
    """
    names: list[tuple[str, str]] = []
    strings: list[str] = []  # literal strings on top of the stack
    memo: dict[int, str | None] = {}
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in _FORBIDDEN:
                raise ValueError(f"opcode {opcode.name}, which names objects outside the file")
            if opcode.name in _PUTS:
                index = len(memo) if argument is None else int(argument)
                if index > len(data):
                    raise ValueError(f"memo index {index} beyond the file's own length")
                memo[index] = strings[-1] if strings else None
                continue
            if opcode.name in ("GLOBAL", "INST"):
                module, _, name = str(argument).partition(" ")
                names.append((module, name))
            if opcode.name == "STACK_GLOBAL":
                if len(strings) < 2:
                    raise ValueError("a name that is only known at run time (STACK_GLOBAL)")
                names.append((strings[-2], strings[-1]))
            text = str(argument) if opcode.name in _STRINGS else None
            if opcode.name in _GETS:
                text = memo.get(int(argument or 0))
            strings = [] if text is None else [*strings[-1:], text]
    except (ValueError, IndexError, UnicodeError) as error:
        raise ValueError(f"not a readable pickle: {error}") from error
    return names


class _Unpickler(pickle.Unpickler):
    """Finds the stubs of :data:`ALLOWED` and nothing else, whatever the scan has seen."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"refused: {module}.{name}")
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError(f"refused: persistent id {pid!r}")


def _dtype(stub: Any) -> np.dtype:
    code = stub.args[0] if isinstance(stub, _Dtype) and stub.args else None
    if (
        not isinstance(code, str)
        or len(code) != 2
        or code[0] not in "biuf"
        or code[1] not in "1248"
    ):
        raise ValueError(f"array of type {code!r}: only plain numbers are read, no objects")
    order = stub.state[1] if isinstance(stub.state, tuple) and len(stub.state) > 1 else "|"
    if order not in ("<", ">", "|", "="):
        raise ValueError(f"byte order {order!r}: use '<', '>' or '|'")
    return np.dtype(code).newbyteorder(order)  # type: ignore[arg-type]


def _plain_array(stub: _Array) -> np.ndarray:
    if not isinstance(stub.state, tuple) or len(stub.state) != 5:
        raise ValueError("an array without its content")
    _, shape, dtype_stub, is_fortran, raw = stub.state
    dtype = _dtype(dtype_stub)
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError(f"array of shape {shape!r}: expected a tuple of sizes")
    if isinstance(raw, str):
        raw = raw.encode("latin1")
    expected = math.prod(shape) * dtype.itemsize
    if not isinstance(raw, bytes) or len(raw) != expected:
        held = f"{len(raw)} bytes" if isinstance(raw, bytes) else type(raw).__name__
        raise ValueError(
            f"array of shape {shape} and type {dtype}: needs {expected} bytes, has {held}"
        )
    array = np.frombuffer(raw, dtype).reshape(shape, order="F" if is_fortran else "C")
    return np.ascontiguousarray(array, dtype.newbyteorder("="))


def _selected(state: dict[str, Any]) -> np.ndarray:
    """chumpy's ``Select``: ``a.ravel()[idxs]``, then ``preferred_shape`` if it has one."""
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
    if isinstance(value, _Array):
        return _plain_array(value)
    if isinstance(value, _Stub) and isinstance(value.state, dict):
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
    """The arrays of a MANO pickle by key; entries that are no arrays (names, styles) are left out.

    Raises :class:`ValueError` naming the file and the reason: too large, not a pickle, naming
    anything outside :data:`ALLOWED`, object arrays, or sizes that the bytes do not fill.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{path}: {size} bytes; a MANO file has about 4 MB")
    data = path.read_bytes()
    try:
        strangers = sorted({f"{m}.{n}" for m, n in named_objects(data) if (m, n) not in ALLOWED})
        if strangers:
            raise ValueError(f"refused, it names {', '.join(strangers)}, which no MANO file holds")
        content = _Unpickler(io.BytesIO(data), encoding="latin1").load()
        if not isinstance(content, dict):
            raise ValueError(
                f"holds a {type(content).__name__}, a MANO file holds a dict of arrays"
            )
        return {str(k): to_array(v) for k, v in content.items() if isinstance(v, _Stub)}
    except Exception as error:  # a hostile file can raise anything; all of it is "unreadable"
        raise ValueError(f"{path}: {error}") from error
