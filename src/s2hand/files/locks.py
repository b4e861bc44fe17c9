"""Locks on folders and files that only one process may use at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextmanager
def lock_folder(folder: Path) -> Iterator[bool]:
    """Make and lock a folder by its file ``.lock``: see :func:`lock_file`."""
    folder.mkdir(parents=True, exist_ok=True)
    with lock_file(folder / ".lock") as free:
        yield free


@contextmanager
def lock_file(path: Path) -> Iterator[bool]:
    """Lock a file; gives False if another process holds the lock.

    The lock ends with its process, even if that is killed; the file is removed at the end of the
    block. (Windows: always True.)
    """
    if sys.platform == "win32":
        yield True
        return
    descriptor = _locked(path)
    if descriptor is None:
        yield False
        return
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)  # while the lock is held: see _locked
        os.close(descriptor)


def _locked(path: Path) -> int | None:
    """A descriptor that holds the lock of a file, or None if another process holds it.

    Between opening and locking, the holder may end and remove the file, and a third process could
    lock a new one. So the locked file must still be the one at ``path``; otherwise try again.
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
