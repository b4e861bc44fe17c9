"""What a mesh or an animation says of itself: units, axes, the hand, its model, the cameras."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from s2hand.export.codes import AXES, UNITS, Record, plain

About = Mapping[str, Any]
"""Names and plain values, as glTF's ``extras`` take them."""

GLTF_AXES = "x right, y up, z backward (glTF): x, -y, -z of the camera's"

_SAID = ("side", "mirrored", "hand_model", "hand_model_fingerprint", "flat_hand_mean", "crop_px")
_CAMERAS = ("intrinsics_crop", "intrinsics_image")


def describe(record: Record, frame: int | None = None) -> About:
    """The part of a prediction's or a track's record that belongs into its meshes, too.

    Args:
        record: see :func:`~s2hand.export.codes.prediction_record`.
        frame: the one whose cameras are meant; None: all. Cameras [3, 3] of the frame, or if all
            frames share it, else [n, 3, 3].
    """
    rows = slice(None) if frame is None else slice(frame, frame + 1)
    cameras = {name: record[name][rows] for name in _CAMERAS if name in record}
    return {name: record[name] for name in _SAID} | {
        name: plain(each[0] if (each == each[0]).all() else each) for name, each in cameras.items()
    }


def stated(about: About | None, axes: str = AXES) -> dict[str, Any]:
    """With the file's own units and axes, which every file says."""
    return {"units": UNITS, "axes": axes, **(about or {})}


def comments(about: About | None) -> list[str]:
    """``name: value`` a line, the value in JSON: no text of a hand model can break the line."""
    return [f"{name}: {json.dumps(value)}" for name, value in stated(about).items()]
