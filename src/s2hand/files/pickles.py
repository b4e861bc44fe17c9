"""Pickle files read as data: nothing that a file names is imported or called.

Datasets and hand models are published as pickles, and an ordinary load runs any function that
the file names. Here the caller lists the names that such a file needs, each name gives a passive
stub, and any other name refuses the file. Arrays are then built from the stubs' raw bytes, so not
even numpy takes part in unpickling.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from s2hand.files.checksums import read_verified


class Stub:
    """Stores an object's arguments and state, and does nothing with them."""

    def __init__(self, *args: Any) -> None:
        self.args = args
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Array(Stub):
    """``numpy.ndarray``: state (version, shape, dtype, is_fortran, raw bytes)."""


class Dtype(Stub):
    """``numpy.dtype``: arguments (code, ...), state (version, byte order, ...)."""


class Scalar(Stub):
    """A numpy number: arguments (dtype, raw bytes)."""


class Encoded(Stub):
    """Bytes as Python 3 writes them for Python 2: arguments (text, ``latin1``), or none."""


Names = Mapping[tuple[str, str], type]
"""(module, name) that a pickle may name -> the stub, or harmless builtin, that it stands for."""

NUMPY: Names = {
    ("numpy.core.multiarray", "_reconstruct"): Array,
    ("numpy._core.multiarray", "_reconstruct"): Array,
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): Dtype,
    ("numpy.core.multiarray", "scalar"): Scalar,
    ("numpy._core.multiarray", "scalar"): Scalar,
    ("_codecs", "encode"): Encoded,
    ("__builtin__", "bytes"): Encoded,
}
"""Names that numpy's arrays and numbers need, under old and new module paths."""


def read_pickle(path: Path, allowed: Names, max_bytes: int, kind: str) -> Any:
    """Read a pickle into plain Python values, with stubs where it names objects.

    Args:
        path: the file; strings and bytes of Python 2 are read as latin1.
        allowed: all names that such a file may hold.
        max_bytes: a larger file is refused unread.
        kind: what the file should be, such as "a MANO file", for messages.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: naming the file and the reason: too large, not a pickle, a wrong checksum, or a
            name outside ``allowed``.
    """
    size = path.stat().st_size
    if size > max_bytes:
        raise ValueError(f"{path}: {size} bytes, which is too large for {kind}")
    data = read_verified(path)
    try:
        return _Unpickler(data, allowed, kind).load()
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # a hostile file can raise anything; all of it is "unreadable"
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path}: not a readable pickle: {reason}") from error


class _Unpickler(pickle._Unpickler):
    """Finds the given stubs and nothing else.

    The standard library's unpickler in Python, not the one in C: the latter allocates as many
    memo entries as the largest index in the file, 32 GiB for five bytes of pickle.
    """

    dispatch = pickle._Unpickler.dispatch.copy()

    def __init__(self, data: bytes, allowed: Names, kind: str) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._allowed, self._kind = allowed, kind

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(
                f"refused, it names {module}.{name}, which {self._kind} never does"
            )
        return self._allowed[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError(f"refused, it holds a persistent id: {pid!r}")

    def _refuse_bytearray(self: Any) -> None:
        raise pickle.UnpicklingError("refused, it holds a bytearray")

    # A bytearray is filled with zeros up to its stated length before its bytes are read.
    dispatch[pickle.BYTEARRAY8[0]] = _refuse_bytearray


def to_array(stub: Array | Scalar) -> np.ndarray:
    """The array of plain numbers that a stub stands for, in this machine's byte order.

    A number becomes an array without dimensions.

    Raises:
        ValueError: for arrays of objects, and where the bytes do not fill the shape.
    """
    shape: Any
    if isinstance(stub, Scalar) and len(stub.args) == 2:
        shape, (dtype_stub, raw), is_fortran = (), stub.args, False
    elif isinstance(stub.state, tuple) and len(stub.state) == 5:
        _, shape, dtype_stub, is_fortran, raw = stub.state
    else:
        raise ValueError("an array without its content")
    dtype = _dtype(dtype_stub)
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError(f"array of shape {shape!r}: expected a tuple of sizes")
    if isinstance(raw, Encoded) and raw.args[1:] in ((), ("latin1",)):
        raw = raw.args[0] if raw.args else b""
    if isinstance(raw, str):
        raw = raw.encode("latin1")
    expected = math.prod(shape) * dtype.itemsize
    if not isinstance(raw, bytes) or len(raw) != expected:
        held = f"{len(raw)} bytes" if isinstance(raw, bytes) else type(raw).__name__
        raise ValueError(
            f"array of shape {shape} and type {dtype}: needs {expected} bytes, has {held}"
        )
    array = np.frombuffer(raw, dtype).reshape(shape, order="F" if is_fortran else "C")
    return np.array(array, dtype.newbyteorder("="), order="C")


def _dtype(stub: Any) -> np.dtype:
    code = stub.args[0] if isinstance(stub, Dtype) and stub.args else None
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
