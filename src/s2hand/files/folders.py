"""The cache folder, and a check that a folder is writable."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import NamedTemporaryFile


def default_root() -> Path:
    """The cache folder: ``$S2HAND_CACHE``, or ``~/.cache/s2hand``."""
    return Path(os.environ.get("S2HAND_CACHE") or "~/.cache/s2hand").expanduser()


def check_writable(folder: str | Path) -> None:
    """Make a folder and check that files can be written there, before a long computation.

    Raises:
        OSError: naming the folder and the remedy, if they cannot.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = f"{error.strerror}: the folder is not writable, give another one"
        raise OSError(error.errno, reason, str(folder)) from error
