"""Writing a file so that a reader never sees a part of it."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block ends without an error.

    The temporary keeps the suffix, since writers choose the format by it; missing folders are
    made. After an error or an interrupt it is removed and an older ``path`` is unchanged.

    Raises:
        OSError: that of the block, naming ``path`` if it named the temporary or no file.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem}.s2hand-{secrets.token_hex(4)}{target.suffix}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        if error.filename in (None, temporary, str(temporary)):
            raise OSError(error.errno, error.strerror or str(error), str(target)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: str | Path) -> None:
    """Remove temporaries of killed processes from a folder and the folders in it."""
    for pattern in (".*", "*/.*"):
        for path in Path(folder).glob(pattern):
            if re.fullmatch(r"\..+\.s2hand-[0-9a-f]{8}(\.\w+)?", path.name) and path.is_file():
                path.unlink(missing_ok=True)
