"""Folders and files that one process at a time works in."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextmanager
def own_folder(folder: Path) -> Iterator[bool]:
    """Hold a folder, which is made, by its file ``.lock``: see :func:`own`."""
    folder.mkdir(parents=True, exist_ok=True)
    with own(folder / ".lock") as free:
        yield free


@contextmanager
def own(lock: Path) -> Iterator[bool]:
    """Hold what a file stands for against other processes; gives False where another one holds it.

    The lock dies with its process, however that ends; its file goes at the end of the block.
    (Windows: always True.)
    """
    if sys.platform == "win32":
        yield True
        return
    descriptor = _locked(lock)
    if descriptor is None:
        yield False
        return
    try:
        yield True
    finally:
        lock.unlink(missing_ok=True)  # as long as it is held: see _locked
        os.close(descriptor)


def _locked(path: Path) -> int | None:
    """A descriptor that holds the lock of a file, or None where another process does.

    Between opening and locking its holder may have ended and removed the file; then a third process
    could lock a new one. So it has to be the file that lies there, or another is made.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        os.close(descriptor)
