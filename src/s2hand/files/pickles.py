"""Pickle files read as data: nothing that a file names is ever looked up or called.

Datasets and hand models are published as pickles, which run whatever they name when they are
loaded the ordinary way. Here the opcodes are scanned first, a file that names anything outside a
list given by the caller is refused by those names, and the names on the list stand for passive
stubs. Arrays are then built from the stubs' raw bytes, so not even numpy takes part in unpickling.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from s2hand.files.checksums import read_verified


class Stub:
    """Records what a pickle says about an object, and does nothing."""

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
    """A number of numpy: arguments (dtype, raw bytes)."""


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
"""What arrays and numbers of numpy need; old and new module paths of the same classes."""

_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE"}
_STRINGS |= {"SHORT_BINUNICODE", "BINUNICODE8"}
_PUTS = {"MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_FORBIDDEN = {"PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4"}


def read_pickle(path: Path, allowed: Names, max_bytes: int, kind: str) -> Any:
    """What a pickle holds: plain Python values, with stubs where it names objects.

    Args:
        path: the file; strings and bytes of Python 2 are read as latin1.
        allowed: every name that such a file may hold.
        max_bytes: a larger file is refused unread.
        kind: what the file should be, such as "a MANO file", for messages.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: naming the file and the reason: too large, no pickle, not what its checksum
            says, or naming anything outside ``allowed`` (then nothing of it has been unpickled).
    """
    size = path.stat().st_size
    if size > max_bytes:
        raise ValueError(f"{path}: {size} bytes, which is too large for {kind}")
    data = read_verified(path)
    try:
        strangers = sorted({f"{m}.{n}" for m, n in named_objects(data) if (m, n) not in allowed})
        if strangers:
            raise ValueError(f"refused, it names {', '.join(strangers)}, which {kind} never does")
        return _Unpickler(data, allowed).load()
    except Exception as error:  # a hostile file can raise anything; all of it is "unreadable"
        raise ValueError(f"{path}: {error}") from error


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
    """Finds the stubs it was given and nothing else, whatever the scan has seen."""

    def __init__(self, data: bytes, allowed: Names) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"refused: {module}.{name}")
        return self._allowed[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError(f"refused: persistent id {pid!r}")


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
