"""Predictions as NPZ and JSON, format ``s2hand.prediction/1`` (docs/formats.md)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from s2hand.export.mirror import mirror_faces, mirror_prediction
from s2hand.files.atomic import atomic_path
from s2hand.files.json import write_json
from s2hand.geometry.camera import project
from s2hand.geometry.skeleton import JOINT_NAMES, MANO_FINGERS
from s2hand.types import Camera, Prediction

SCHEMA = "s2hand.prediction/1"
UNITS = "lengths in metres, angles in radians, image points in pixels, colours 0..1"
AXES = "camera: x right, y down, z forward (OpenCV); pixel centres at integers"
ROTATION_NAMES = ("root", *(f"{finger}_{k}" for finger in MANO_FINGERS for k in (1, 2, 3)))
"""The 16 quaternions: the root in the camera, then the finger joints in MANO order."""
_DECIMALS = 7

Record = dict[str, Any]
"""The fields of the format: arrays [n, ...] over frames, strings and lists of strings."""


def prediction_record(
    prediction: Prediction,
    camera: Camera,
    faces: Int[Tensor, "1538 3"],
    hand_model: str,
    fingerprint: str,
    frames: Sequence[str],
    side: Literal["left", "right"] = "right",
    image_intrinsics: Float[Tensor, "n 3 3"] | None = None,
    *,
    flat_hand_mean: bool,
) -> Record:
    """The hands of n = b * t frames as numpy arrays, with their conventions.

    Args:
        prediction: the package's right hands, [b, t, ...].
        camera: the crops' cameras.
        faces: faces of the right-hand model.
        hand_model: the model's name.
        fingerprint: hash of the model's arrays; codes mean nothing under another model.
        frames: one name per frame, b-major.
        side: ``left`` mirrors everything back to the original image.
        image_intrinsics: K of the original whole images; adds the joints' pixels in them.
        flat_hand_mean: whether a zero pose is the model's flat hand instead of its mean pose.

    Raises:
        ValueError: for a wrong number of names or an unknown side.
    """
    n = prediction.joints_2d.shape[:2].numel()
    if len(frames) != n:
        raise ValueError(f"{len(frames)} names for {n} frames: give one each")
    if side not in ("left", "right"):
        raise ValueError(f"side={side!r}: use 'left' or 'right'")
    if side == "left":
        prediction, camera = mirror_prediction(prediction, camera)
        faces = mirror_faces(faces)
    hand = prediction.hand.detach()
    tensors = {field.name: getattr(hand.code, field.name) for field in fields(hand.code)}
    tensors |= {
        "quaternions": hand.quaternions,
        "vertices": hand.vertices,
        "joints": hand.joints,
        "joints_2d": prediction.joints_2d.detach(),
        "intrinsics_crop": camera.intrinsics,
    }
    arrays = {name: _array(tensor.flatten(0, 1)) for name, tensor in tensors.items()}
    if image_intrinsics is not None:
        joints = hand.joints.flatten(0, 1).to(image_intrinsics)
        arrays["intrinsics_image"] = _array(image_intrinsics)
        arrays["joints_2d_image"] = _array(project(joints, image_intrinsics))
    return {
        "schema": SCHEMA,
        "units": UNITS,
        "axes": AXES,
        "side": side,
        "mirrored": side == "left",
        "hand_model": hand_model,
        "hand_model_fingerprint": fingerprint,
        "flat_hand_mean": flat_hand_mean,
        "crop_px": camera.crop_px,
        "joint_order": list(JOINT_NAMES),
        "rotation_order": list(ROTATION_NAMES),
        "frames": list(frames),
        "faces": faces.cpu().numpy().astype(np.int64),
        **arrays,
    }


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.to("cpu", torch.float32).numpy()


def write_prediction(path: str | Path, record: Record) -> None:
    """Write a record in the format of the suffix, ``.npz`` or ``.json``, atomically.

    Raises:
        ValueError: for another suffix, or a value that is not finite.
    """
    path = Path(path)
    check_finite(path, record)
    if path.suffix == ".npz":
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, **record)
    elif path.suffix == ".json":
        write_json(path, {name: plain(value) for name, value in record.items()}, indent=None)
    else:
        raise ValueError(f"cannot write {path}: use .npz or .json")


def read_prediction(path: str | Path) -> Record:
    """Read a file of :func:`write_prediction`.

    Raises:
        ValueError: if the file has another schema.

    >>> from tempfile import TemporaryDirectory
    >>> record = {"schema": SCHEMA, "joints": np.zeros((2, 21, 3), np.float32)}
    >>> with TemporaryDirectory() as folder:
    ...     write_prediction(f"{folder}/hands.npz", record)
    ...     read_prediction(f"{folder}/hands.npz")["joints"].shape
    (2, 21, 3)
    """
    return read_record(path, SCHEMA)


def check_finite(path: str | Path, record: Record) -> None:
    """Raise ValueError naming the file and the field if a value is not finite."""
    for name, value in record.items():
        if isinstance(value, np.ndarray) and not np.isfinite(value).all():
            raise ValueError(f"cannot write {path}: {name} is not finite")


def plain(value: Any) -> Any:
    """Arrays as nested lists; floats rounded to the digits of float32."""
    if not isinstance(value, np.ndarray):
        return value
    if np.issubdtype(value.dtype, np.floating):
        value = np.round(value.astype(np.float64), _DECIMALS)
    return value.tolist()


def read_record(path: str | Path, schema: str) -> Record:
    """The fields of an ``.npz`` or JSON file of a schema; nothing in it can run.

    Raises:
        ValueError: if the file has another schema.
    """
    path = Path(path)
    record: Record
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            record = {name: _value(archive[name]) for name in archive.files}
    else:
        content = json.loads(path.read_text(encoding="utf-8"))
        record = {name: _value(np.array(value)) for name, value in content.items()}
    if record.get("schema") != schema:
        raise ValueError(f"{path}: schema {record.get('schema')!r}, this version reads {schema!r}")
    return record


def _value(array: np.ndarray) -> Any:
    """Strings, lists of strings and single numbers as Python values; floats in float32."""
    if array.dtype.kind == "U" or array.ndim == 0:
        return array.tolist()
    return array.astype(np.float32) if array.dtype.kind == "f" else array
