"""A hand through a video as NPZ and JSON, format ``s2hand.track/1`` (docs/formats.md)."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np
from jaxtyping import Float
from typing_extensions import Self

from s2hand.export.codes import Record, check_finite, plain, read_record
from s2hand.files.atomic import atomic_path

SCHEMA = "s2hand.track/1"
_ROWS = 256

CONSTANT = ("shape", "scale", "texture")
"""Fields that a track has once: [10], a number, [778, 3]."""
POSED = (
    "pose",
    "rotation",
    "translation",
    "light",
    "quaternions",
    "joints",
    "joints_2d",
    "joints_2d_image",
    "intrinsics_crop",
    "intrinsics_image",
)
"""Fields of each frame, as in ``s2hand.prediction/1``."""
SEEN = ("times", "frame_numbers", "confidence", "error_2d_px", "affine")
"""Further fields of each frame."""


def small_part(record: Record) -> Record:
    """The fields of a prediction that a track keeps in memory: no meshes, no textures."""
    return {name: record[name] for name in ("frames", *POSED)}


def track_record(
    first: Record,
    parts: Sequence[Record],
    seen: dict[str, np.ndarray],
    facts: dict[str, Any],
) -> Record:
    """A track of n frames, without its vertices.

    Args:
        first: a prediction of any of its frames, for conventions, hand model and constant fields.
        parts: :func:`small_part` of each prediction, in order of frames.
        seen: the arrays of :data:`SEEN`, [n, ...].
        facts: the track's single values: ``num_pca``, ``fps``, ``frame_step``, ``smooth_sigma``,
            ``gaps``, and ``error_2d_confident_px`` if a keypoint was confident enough.

    Raises:
        ValueError: if an array has another number of frames than the predictions.
    """
    head = ("units", "axes", "side", "mirrored", "hand_model", "hand_model_fingerprint",
            "flat_hand_mean", "crop_px")  # fmt: skip
    joined = {name: np.concatenate([part[name] for part in parts]) for name in POSED}
    frames = [name for part in parts for name in part["frames"]]
    record = {
        "schema": SCHEMA,
        **{name: first[name] for name in head},
        **facts,
        "joint_order": first["joint_order"],
        "rotation_order": first["rotation_order"],
        "frames": frames,
        **{name: seen[name] for name in SEEN},
        "faces": first["faces"],
        "shape": first["shape"][0],
        "scale": first["scale"][0].item(),
        "texture": first["texture"][0],
        **joined,
    }
    _check_rows(record, "this track")
    return record


class TrackArchive:
    """``track.npz`` written piece by piece: first the vertices, at the end all other fields.

    A context manager; the file appears if :meth:`finish` was called and the block ends without an
    error.

    Args:
        path: the ``.npz`` to write; replaced atomically.
        frames: number of frames of the track.
    """

    def __init__(self, path: str | Path, frames: int) -> None:
        self.path, self.frames = Path(path), frames
        self._rows, self._finished = 0, False
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            archive = zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED)
            self._archive = stack.enter_context(archive)
            # zipfile does not know the size, and refuses more than 2 GB without the flag.
            self._member = stack.enter_context(archive.open("vertices.npy", "w", force_zip64=True))
            header = {"descr": "<f4", "fortran_order": False, "shape": (self.frames, 778, 3)}
            np.lib.format.write_array_header_1_0(self._member, header)
            self._stack = stack.pop_all()
        return self

    def add(self, vertices: Float[np.ndarray, "b 778 3"]) -> None:
        """Append the vertices of the next frames, metres, camera space.

        Raises:
            ValueError: for another shape, or values that are not finite.
        """
        if vertices.shape[1:] != (778, 3) or not np.isfinite(vertices).all():
            raise ValueError(
                f"cannot write {self.path}: vertices {vertices.shape} are not finite [b, 778, 3]"
            )
        self._rows += len(vertices)
        self._member.write(np.ascontiguousarray(vertices, "<f4").tobytes())

    def finish(self, record: Record) -> None:
        """Write all other fields, the record of :func:`track_record`.

        Raises:
            ValueError: if vertices are missing, or a value is not finite.
        """
        if self._rows != self.frames:
            raise ValueError(f"{self.path}: {self._rows} of {self.frames} frames have vertices")
        check_finite(self.path, record)
        self._member.close()
        for name, value in record.items():
            with self._archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(value), allow_pickle=False)
        self._finished = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None and not self._finished:
            unfinished = ValueError(f"{self.path} was not finished")
            self._stack.__exit__(ValueError, unfinished, None)
            raise unfinished
        self._stack.__exit__(kind, error, trace)


def write_track_json(path: str | Path, record: Record) -> None:
    """Write the record as one JSON object without NaN, a few frames at a time, atomically.

    Raises:
        ValueError: if a value is not finite.
    """
    check_finite(path, record)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for position, (name, value) in enumerate(record.items()):
            file.write(f"{',' if position else '{'}\n{json.dumps(name)}: ")
            _write_value(file, value)
        file.write("\n}\n")


def _write_value(file: TextIO, value: Any) -> None:
    if not isinstance(value, np.ndarray) or value.ndim == 0:
        file.write(json.dumps(plain(value), allow_nan=False))
        return
    file.write("[")
    for start in range(0, len(value), _ROWS):
        rows = json.dumps(plain(value[start : start + _ROWS]), allow_nan=False)[1:-1]
        file.write(f", {rows}" if start else rows)
    file.write("]")


def read_track(path: str | Path) -> Record:
    """Read a track; the JSON has no ``vertices``.

    Raises:
        ValueError: if the file has another schema, a field is missing, or fields differ in their
            number of frames.
    """
    record = read_record(path, SCHEMA)
    _check_rows(record, path)
    return record | {"gaps": np.asarray(record["gaps"], np.int64).reshape(-1, 2)}


def _check_rows(record: Record, source: str | Path) -> None:
    missing = [name for name in ("frames", "gaps", *CONSTANT, *SEEN, *POSED) if name not in record]
    if missing:
        raise ValueError(f"{source} lacks {missing[0]!r}: expected a complete {SCHEMA} file")
    count = len(record["frames"])
    for name in (*SEEN, *POSED, *(["vertices"] if "vertices" in record else [])):
        if len(record[name]) != count:
            raise ValueError(f"{source}: {name} has {len(record[name])} rows for {count} frames")
