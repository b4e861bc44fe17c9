"""Data files compared with the checksums that somebody has written down for them.

A flipped byte of a picture, another digit in a label, two files that changed places: every parser
takes them for data. Where a file ``SHA256SUMS`` lies beside a data file or in a folder above it,
and lists it, the file is compared before anything of it is used. It is in the format of the common
tools: ``sha256sum`` writes and checks it without this package (docs/formats.md). Files of
detections can hold the checksums of the pictures that they were made of.
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
    """The bytes of a file, compared with the checksum that is listed for it, if there is one.

    Args:
        path: the file.
        detected: of a picture, the SHA-256 that its detections know it by; none, or zeros, if they
            do not.

    Raises:
        OSError: if it cannot be read.
        ValueError: naming the file and the list, if its content is not the listed one.
    """
    content = path.read_bytes()
    sums, listed = _listed(path)
    if not listed and not any(detected):
        return content
    digest = hashlib.sha256(content).digest()
    if listed and digest != listed:
        raise ValueError(
            f"{path} is not the file that {sums} lists: it is damaged or another one; fetch it "
            f"again, or if the change is meant, write {SUMS} anew"
        )
    if any(detected) and digest != detected:
        raise ValueError(
            f"{path} is not the picture that its keypoints were detected in: it is damaged or "
            "another one; fetch it again, or if the change is meant, run the detection again"
        )
    return content


def file_stamp(path: Path) -> list[str | int]:
    """What caches of a file's content are kept by: path, size, time, and checksum if it is listed.

    Raises:
        OSError: if there is no such file.
        ValueError: if the list of checksums is none.
    """
    status = path.stat()
    return [os.path.abspath(path), status.st_size, status.st_mtime_ns, _listed(path)[1].hex()]


def _listed(path: Path) -> tuple[str, bytes]:
    """The list that knows a file, in its folder or the nearest one above, and its checksum."""
    file = os.path.abspath(path)
    for folder, digests in _lists_above(os.path.dirname(file)):
        if digest := digests.get(os.path.relpath(file, folder).replace(os.sep, "/")):
            return os.path.join(folder, SUMS), digest
    return "", b""


@cache
def _lists_above(folder: str) -> tuple[tuple[str, Mapping[str, bytes]], ...]:
    """Folders with a list, the nearest first, of a folder and those above; read once a process.

    Strings rather than paths: this is asked for every one of hundreds of thousands of files.
    """
    parent = os.path.dirname(folder)
    above = () if parent == folder else _lists_above(parent)
    sums = Path(folder, SUMS)
    return ((folder, _read_sums(sums)), *above) if sums.is_file() else above


def _read_sums(path: Path) -> dict[str, bytes]:
    """Checksums by the files' paths below the folder of the list."""
    digests = {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(
                f"{path}, line {number}: {line[:80]!r}; expected what sha256sum writes, "
                "'<64 hex digits>  <path>'"
            )
        digests[match[2]] = bytes.fromhex(match[1])
    return digests
