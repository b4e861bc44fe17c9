"""Folders: the cache, and whether a folder can be written to."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import NamedTemporaryFile


def default_root() -> Path:
    """Where what can be made again is kept: ``$S2HAND_CACHE``, or ``~/.cache/s2hand``."""
    return Path(os.environ.get("S2HAND_CACHE") or "~/.cache/s2hand").expanduser()


def check_writable(folder: str | Path) -> None:
    """Make a folder and try whether files can be written there, before time is spent on them.

    Raises:
        OSError: they cannot; names the folder and the remedy.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        said = f"{error.strerror}: nothing can be written there, give another folder"
        raise OSError(error.errno, said, str(folder)) from error
