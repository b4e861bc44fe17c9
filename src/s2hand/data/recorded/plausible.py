"""Find labels that are not a hand's, and detections that are far from their labels.

No parser notices a changed digit, a flipped byte or a file of another frame. Labels far from any
hand are found and counted here; only checksums find the rest (:mod:`s2hand.files.checksums`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from s2hand.data.detections.base import Detections
from s2hand.geometry.skeleton import BONES

logger = logging.getLogger(__name__)

STRANGE = "labels are not a hand's"
MAX_BONE_M = 0.15
MAX_CHANGE_M = 0.025
MIN_FRAMES = 5
MAX_MESH_M = 0.3


def strange_labels(
    joints: Float[np.ndarray, "n 21 3"],
    vertices: Float[np.ndarray, "n 778 3"] | None = None,
    recordings: Int[np.ndarray, " n"] | None = None,
) -> Bool[np.ndarray, " n"]:
    """Which rows of labels [m] are not a hand's: a damaged label, or a file of another frame.

    Our definition, wide enough for the annotations of every dataset: a bone is longer than 15 cm;
    a vertex is more than 30 cm from the wrist; in a recording of five frames or more a bone
    differs by more than 2.5 cm from its median length. Missing joints (NaN) are ignored.
    """
    lengths = _bone_lengths(joints)
    strange = np.asarray((lengths > MAX_BONE_M).any(-1))
    if vertices is not None:
        reach = np.linalg.norm(vertices - joints[:, :1], axis=-1).max(-1)
        strange |= reach > MAX_MESH_M
    if recordings is not None:
        order = np.argsort(recordings, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(recordings[order])) + 1):
            if len(rows) >= MIN_FRAMES:
                usual = np.ma.median(np.ma.masked_invalid(lengths[rows]), axis=0).filled(np.nan)
                strange[rows] |= (np.abs(lengths[rows] - usual) > MAX_CHANGE_M).any(-1)
    return strange


def count_strange(
    strange: Bool[np.ndarray, " n"], source: str, names: Sequence[str]
) -> dict[str, int]:
    """Number of implausible labels, by reason; a warning names the first."""
    if strange.any():
        logger.warning(
            "%s: the labels of %d frames are not a hand's, first %s: is its file damaged?",
            source, strange.sum(), names[int(np.argmax(strange))],
        )  # fmt: skip
    return {STRANGE: int(strange.sum())}


def count_far(
    joints: Float[np.ndarray, "n 21 3"], K: Float[np.ndarray, "n 3 3"], found: Detections
) -> dict[str, int]:
    """Number of frames where most keypoints are more than half a hand from the labels.

    The label belongs to another frame or hand, or the detector found something else.
    """
    points = joints @ K.transpose(0, 2, 1)
    uv = points[..., :2] / points[..., 2:]
    seen = (found.confidence > 0) & np.isfinite(uv).all(-1)
    low, high = (np.where(seen[..., None], uv, empty) for empty in (np.inf, -np.inf))
    size = (high.max(1) - low.min(1)).max(-1)
    off = np.linalg.norm(found.keypoints - uv, axis=-1)
    far = 2 * (seen & (off > size[:, None] / 2)).sum(1) > seen.sum(1)
    return {"detected far from the labels": int(far.sum())}


def _bone_lengths(joints: Float[np.ndarray, "n 21 3"]) -> Float[np.ndarray, "n 20"]:
    parents, children = (list(ends) for ends in zip(*BONES, strict=True))
    return np.linalg.norm(joints[:, children] - joints[:, parents], axis=-1)
