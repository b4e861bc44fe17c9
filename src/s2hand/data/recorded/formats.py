"""The published datasets that ``s2hand-data check`` supports, one row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from s2hand.data.recorded.base import RecordedDataset
from s2hand.data.recorded.dexycb import DexYcbDataset
from s2hand.data.recorded.freihand import FreiHandDataset
from s2hand.data.recorded.hanco import HanCoDataset
from s2hand.data.recorded.ho3d import Ho3dDataset
from s2hand.data.recorded.interhand import InterHandDataset
from s2hand.data.recorded.rhd import RhdDataset
from s2hand.data.recorded.stb import CAMERAS, StbDataset
from s2hand.data.recorded.youtube import YouTubeDataset

Option = tuple[str, dict[str, Any]]
"""A flag and its argparse options; its value becomes the dataset argument of the same name."""

FOV_DEG = 60.0
"""Default horizontal field of view."""


def _split(*names: str) -> Option:
    return "--split", {"choices": names, "default": "train"}


_LABELS: Option = ("--labels", {"action": "store_true", "help": "check the 3D labels too"})


@dataclass(frozen=True)
class Format:
    """A dataset as published by its authors."""

    title: str
    make: Callable[..., FreiHandDataset | RecordedDataset]
    """The class; takes the root, the detections, and the options by name."""
    root: str
    """Contents of the root folder."""
    options: tuple[Option, ...]
    example: str
    """Example arguments after the dataset's name."""


FORMATS = {
    "freihand": Format(
        "FreiHAND v2",
        FreiHandDataset,
        "training/ and evaluation/",
        (
            _split("train", "evaluation"),
            ("--variants", {
                "type": int, "nargs": "+", "default": [0], "help": "backgrounds 0..3",
            }),
            _LABELS,
        ),
        "FreiHAND_pub_v2 --detections freihand-train.json --variants 0",
    ),
    "ho3d": Format(
        "HO-3D v2 or v3",
        Ho3dDataset,
        "train/, evaluation/ and the lists",
        (_split("train", "evaluation"), _LABELS),
        "HO3D_v3 --detections ho3d-train.json --labels",
    ),
    "dexycb": Format(
        "DexYCB",
        DexYcbDataset,
        "the subjects and calibration/",
        (
            ("--setup", {"choices": ("s0", "s1", "s2", "s3"), "default": "s0"}),
            _split("train", "val", "test"),
            _LABELS,
        ),
        "DexYCB --detections openpose_json/ --setup s0 --split test",
    ),
    "stb": Format(
        "STB",
        StbDataset,
        "images/ and labels/",
        (
            _split("train", "test"),
            ("--cameras", {"nargs": "+", "choices": tuple(CAMERAS), "default": ["SK_color"]}),
            _LABELS,
        ),
        "STB --detections stb-train.json --cameras BB_left SK_color --labels",
    ),
    "rhd": Format(
        "RHD",
        RhdDataset,
        "training/ and evaluation/",
        (
            _split("train", "evaluation"),
            ("--hands", {
                "choices": ("each", "dominant"), "default": "each", "help": "of a picture",
            }),
            _LABELS,
        ),
        "RHD_published_v2 --detections openpose_json/ --split evaluation",
    ),
    "hanco": Format(
        "HanCo",
        HanCoDataset,
        "rgb/, calib/ and meta.json",
        (
            _split("train", "test"),
            ("--cameras", {
                "type": int, "nargs": "+", "default": [*range(8)], "help": "of 0..7",
            }),
            _LABELS,
        ),
        "HanCo --detections hanco.json --split test --cameras 0 3",
    ),
    "interhand": Format(
        "InterHand2.6M's single hands",
        InterHandDataset,
        "annotations/ and images/",
        (_split("train", "val", "test"), _LABELS),
        "InterHand2.6M --detections openpose_json/ --split val --labels",
    ),
    "youtube": Format(
        "YouTube-3D-Hands",
        YouTubeDataset,
        "youtube_train.json",
        (
            _split("train", "val", "test"),
            ("--fov", {
                "type": float, "default": FOV_DEG, "metavar": "FOV",
                "dest": "horizontal_fov_deg", "help": "assumed, horizontal, degrees",
            }),
            _LABELS,
        ),
        "youtube --detections youtube.json --fov 50",
    ),
}  # fmt: skip
"""Formats by their names on the command line."""
