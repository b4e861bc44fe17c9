"""Metadata of meshes and animations: units, axes, the hand, its model, the cameras."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from s2hand.export.codes import AXES, UNITS, Record, plain

About = Mapping[str, Any]
"""Names and plain values, as in glTF's ``extras``."""

GLTF_AXES = "x right, y up, z backward (glTF): x, -y, -z of the camera's"

_COPIED = ("side", "mirrored", "hand_model", "hand_model_fingerprint", "flat_hand_mean", "crop_px")
_CAMERAS = ("intrinsics_crop", "intrinsics_image")


def describe(record: Record, frame: int | None = None) -> About:
    """The fields of a prediction or a track that its meshes repeat.

    Args:
        record: see :func:`~s2hand.export.codes.prediction_record`.
        frame: the frame of the cameras; None: all frames. A camera is [3, 3] for one frame or if
            all frames share it, else [n, 3, 3].
    """
    rows = slice(None) if frame is None else slice(frame, frame + 1)
    cameras = {name: record[name][rows] for name in _CAMERAS if name in record}
    return {name: record[name] for name in _COPIED} | {
        name: plain(each[0] if (each == each[0]).all() else each) for name, each in cameras.items()
    }


def with_units(about: About | None, axes: str = AXES) -> dict[str, Any]:
    """Add the units and axes of the file, which all files state."""
    return {"units": UNITS, "axes": axes, **(about or {})}


def comments(about: About | None) -> list[str]:
    """Lines of ``name: value``; values are JSON, so no text of a hand model breaks a line."""
    return [f"{name}: {json.dumps(value)}" for name, value in with_units(about).items()]
