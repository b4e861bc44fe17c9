"""Data files compared with listed checksums.

No parser notices a flipped byte in a picture, a changed digit in a label or two swapped files. If
``SHA256SUMS`` beside a data file or in a folder above lists the file, its content is compared
before use. The list has the format of ``sha256sum``, which writes and checks it without this
package (docs/formats.md). Files of detections can hold the checksums of their pictures.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?(.+)")


def read_verified(path: Path, detected: bytes = b"") -> bytes:
    """The bytes of a file, compared with its listed checksum, if there is one.

    Args:
        path: the file.
        detected: for a picture, the SHA-256 stored with its detections; empty or zeros if none is.

    Raises:
        OSError: if the file cannot be read.
        ValueError: naming the file and the list, if its content has another checksum.
    """
    content = path.read_bytes()
    sums, listed = _listed(path)
    if not listed and not any(detected):
        return content
    digest = hashlib.sha256(content).digest()
    if listed and digest != listed:
        raise ValueError(
            f"{path} is not the file that {sums} lists: it is damaged or another file; fetch it "
            f"again, or, if the change is intended, write {SUMS} again"
        )
    if any(detected) and digest != detected:
        raise ValueError(
            f"{path} is not the picture that its keypoints were detected in: it is damaged or "
            "another file; fetch it again, or, if the change is intended, run the detection again"
        )
    return content


def file_stamp(path: Path) -> list[str | int]:
    """The key of caches of a file's content: path, size, time, and checksum if listed.

    Raises:
        OSError: if the file does not exist.
        ValueError: if the list of checksums has another format.
    """
    status = path.stat()
    return [os.path.abspath(path), status.st_size, status.st_mtime_ns, _listed(path)[1].hex()]


def _listed(path: Path) -> tuple[str, bytes]:
    """The nearest list that holds a file, in its folder or above, and the file's checksum."""
    file = os.path.abspath(path)
    for folder, digests in _lists_above(os.path.dirname(file)):
        if digest := digests.get(os.path.relpath(file, folder).replace(os.sep, "/")):
            return os.path.join(folder, SUMS), digest
    return "", b""


@cache
def _lists_above(folder: str) -> tuple[tuple[str, Mapping[str, bytes]], ...]:
    """Folders with a list among a folder and its parents, nearest first; read once per process.

    Strings rather than paths, for speed: this runs for hundreds of thousands of files.
    """
    parent = os.path.dirname(folder)
    above = () if parent == folder else _lists_above(parent)
    sums = Path(folder, SUMS)
    return ((folder, _read_sums(sums)), *above) if sums.is_file() else above


def _read_sums(path: Path) -> dict[str, bytes]:
    """Checksums by path relative to the list's folder."""
    digests = {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(
                f"{path}, line {number}: {line[:80]!r}; expected lines of sha256sum, "
                "'<64 hex digits>  <path>'"
            )
        digests[match[2]] = bytes.fromhex(match[1])
    return digests
