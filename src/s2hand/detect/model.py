"""Where MediaPipe's hand model lies, and how to make it from a package of the index."""

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
"""Environment variable that says where the file lies."""
PACKAGE = "mediapipe==0.10.14"
"""The last release whose wheel (Apache-2.0) holds both networks."""
MEGABYTES = 36
"""Of the wheel, which pip fetches."""
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
"""Entry of the model file: where the wheel has it, and its SHA-256."""
_ALIGNMENT = 64  # the networks are mapped from the file as they lie
_LOCAL_HEADER = 30  # bytes before the name of a zip's entry
_PADDING_FIELD = 0xD935  # extra field for alignment, as Android's zipalign has it


def model_path(path: Path | None = None) -> Path:
    """Where the model file has to lie: ``path``, or where the environment says, or in the cache."""
    said = os.environ.get(VARIABLE)
    return path or (Path(said) if said else _cached())


def find_model(path: Path | None = None) -> Path:
    """The model file at :func:`model_path`; of another maker, it may hold other networks.

    Raises:
        FileNotFoundError: naming the place and the command that makes one.
    """
    chosen = model_path(path)
    if not chosen.is_file():
        raise FileNotFoundError(
            f"{chosen}: no hand model there; `s2hand-detect --get-model` makes it once (a download "
            f"of {MEGABYTES} MB), or say where it lies with --model FILE or {VARIABLE}=FILE"
        )
    return chosen


def get_model(path: Path | None, say: Callable[[str], None]) -> Path:
    """Make the model file at :func:`model_path` from the wheel of :data:`PACKAGE`; its path.

    Nothing is made where one with the known networks lies already. Another one is replaced in the
    cache, and left alone elsewhere, where a person has put it.

    Args:
        path: where, if not where the environment says or in the cache.
        say: told, before it begins, what is fetched and why.

    Raises:
        RuntimeError: if pip cannot fetch the package, with its last words.
        ValueError: naming the file, if other networks lie where a person said, or the wheel's are
            not the ones known.
    """
    chosen = model_path(path)
    if chosen.exists():
        try:
            _read(chosen, {name: digest for name, (_, digest) in _NETWORKS.items()})
        except ValueError as error:
            if chosen != _cached():
                raise ValueError(f"{error}; remove it to have it made again") from error
            say(f"{error}: it is made again")
        else:
            return chosen
    say(
        f"pip fetches {PACKAGE} ({MEGABYTES} MB, Apache-2.0) from the index it is set to, PyPI if "
        f"none; its two hand networks become {chosen}"
    )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", PACKAGE, "--no-deps", "--dest", folder,
             "--only-binary=:all:", "--python-version=3.11", "--platform=manylinux2014_x86_64"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            words = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
            raise RuntimeError(f"pip could not fetch {PACKAGE}: {words[-1]}")
        write_model(chosen, networks_of(wheels[0]))
    return chosen


def networks_of(wheel: Path) -> dict[str, bytes]:
    """The two networks of a wheel of :data:`PACKAGE`, by their names in the model file.

    Raises:
        ValueError: naming the file, if it is damaged, or one is missing or another than is known.
    """
    try:
        contents = _read(wheel, dict(_NETWORKS.values()))
    except ValueError as error:
        raise ValueError(
            f"{error}; fetch it again, after `pip cache purge` if it stays so"
        ) from error
    return {name: contents[member] for name, (member, _) in _NETWORKS.items()}


def write_model(path: Path, networks: Mapping[str, bytes]) -> None:
    """Bundle networks as MediaPipe's Tasks read them: a zip, stored, each aligned to 64 bytes."""
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as bundle,
    ):
        for name, content in networks.items():
            entry = zipfile.ZipInfo(name)  # of a fixed date: equal files for equal networks
            begin = file.tell() + _LOCAL_HEADER + len(name) + 4
            padding = -begin % _ALIGNMENT
            entry.extra = struct.pack("<HH", _PADDING_FIELD, padding) + bytes(padding)
            bundle.writestr(entry, content)


def _cached() -> Path:
    return default_root() / FILE_NAME


def _read(path: Path, digests: Mapping[str, str]) -> dict[str, bytes]:
    """Members of a zip, each of the SHA-256 that it must have; ValueError naming the file."""
    contents = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member, digest in digests.items():
                contents[member] = archive.read(member)
                found = hashlib.sha256(contents[member]).hexdigest()
                if found != digest:
                    raise ValueError(f"{member} in {path} has SHA-256 {found}, not {digest}")
    except KeyError as error:
        raise ValueError(f"{path} holds no {member}, which {PACKAGE} has") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged ({error})") from error
    return contents
