"""2D keypoint detections of many images, cleaned, and joined with images by name.

:mod:`s2hand.data.detections.files` reads and writes them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int, UInt8

from s2hand.geometry.skeleton import NUM_JOINTS

SIDES = ("right", "left")
_IMAGE_SUFFIX = re.compile(r"\.(jpe?g|png|bmp|webp|tiff?)$", re.IGNORECASE)


@dataclass(frozen=True)
class Detections:
    """2D keypoints of one hand per image.

    The constructor repairs known detector outputs: confidences outside 0..1 are clamped, NaN
    becomes 0, and keypoints with confidence 0 become (0, 0). ``repaired`` counts the cases.

    Raises:
        ValueError: for inconsistent shapes, an unknown side, or coordinates that are all within
            0..1 (normalised by the detector instead of pixels).
    """

    names: tuple[str, ...]
    keypoints: Float[np.ndarray, "n 21 2"]
    """Pixels of the full upright image, pixel centres at integers, common order."""
    confidence: Float[np.ndarray, "n 21"]
    """0..1; 0 = not detected."""
    image_size: tuple[int, int] | None = None
    """(width, height) of the images that the keypoints refer to, if the file records it."""
    side: str | None = None
    """``right`` or ``left``, if the file records it."""
    source: str = "detections"
    """The file, for messages."""
    image_sha256: UInt8[np.ndarray, "n 32"] | None = None
    """SHA-256 of each image file, zeros if unknown; None if all are unknown."""
    repaired: dict[str, int] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        keypoints = np.array(self.keypoints, dtype=np.float64).reshape(-1, NUM_JOINTS, 2)
        confidence = np.array(self.confidence, dtype=np.float64).reshape(-1, NUM_JOINTS)
        if not len(self.names) == len(keypoints) == len(confidence):
            raise ValueError(
                f"{self.source}: {len(keypoints)} rows of keypoints, {len(confidence)} of "
                f"confidences and {len(self.names)} names; the numbers must be equal"
            )
        if self.image_sha256 is not None and self.image_sha256.shape != (len(self.names), 32):
            raise ValueError(
                f"{self.source}: image_sha256 of shape {self.image_sha256.shape}, "
                f"expected {(len(self.names), 32)}"
            )
        if self.side not in (None, *SIDES):
            raise ValueError(f"{self.source}: side {self.side!r}; use 'right' or 'left'")
        invalid = ~(np.isfinite(confidence) & np.isfinite(keypoints).all(-1))
        clamped = ~invalid & ((confidence < 0) | (confidence > 1))
        confidence = np.where(invalid, 0, confidence.clip(0, 1))
        keypoints = np.where((confidence > 0)[..., None], keypoints, 0)
        found = keypoints[confidence > 0]
        if len(found) and found.max() <= 1:
            raise ValueError(
                f"{self.source}: all coordinates are at most 1 and look normalised; write them in "
                "pixels (OpenPose: --keypoint_scale 0)"
            )
        counts = {"keypoint not finite": invalid.sum(), "confidence outside 0..1": clamped.sum()}
        counts = {**self.repaired, **{k: int(v) for k, v in counts.items() if v}}
        object.__setattr__(self, "keypoints", keypoints)
        object.__setattr__(self, "confidence", confidence)
        object.__setattr__(self, "repaired", counts)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with any name, coordinate, confidence or image checksum."""
        digest = hashlib.sha256(json.dumps([self.names, self.image_size, self.side]).encode())
        for array in (self.keypoints, self.confidence, self.image_sha256):
            if array is not None:
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def of_images(self, names: Sequence[str]) -> Detections:
        """One row per name; image suffixes and leading folders of a detection's name are ignored.

        ``00000012`` finds ``training/rgb/00000012.jpg``, and ``ABF10/0001`` finds
        ``ABF10/0001.png``.

        Raises:
            ValueError: for the first name without a row or with several rows.
        """
        lookup: dict[str, list[int]] = {}
        for row, name in enumerate(self.names):
            parts = _stem(name).split("/")
            for start in range(len(parts)):
                lookup.setdefault("/".join(parts[start:]), []).append(row)
        found = [lookup.get(_stem(name), []) for name in names]
        for name, candidates in zip(names, found, strict=True):
            if len(candidates) != 1:
                raise ValueError(self._unmatched(name, [self.names[row] for row in candidates]))
        return self._select(names, [candidates[0] for candidates in found])

    def of_video(self) -> Detections:
        """One row per frame, in order; the last digits of each name are its number, from 0.

        Raises:
            ValueError: for a name without digits, two names of one frame, or a missing frame.
        """
        rows: dict[int, int] = {}
        for row, name in enumerate(self.names):
            digits = re.findall(r"\d+", _stem(name))
            if not digits:
                raise ValueError(
                    f"{self.source}: {name!r} has no frame number; name the detections of a video "
                    "by frame, counted from 0 ('000000', '000001', ...)"
                )
            if (number := int(digits[-1])) in rows:
                other = self.names[rows[number]]
                raise ValueError(f"{self.source}: {other!r} and {name!r} are the same frame")
            rows[number] = row
        # Distinct numbers, so n of them without a gap are exactly 0..n-1.
        for number in range(len(rows)):
            if number not in rows:
                raise ValueError(
                    f"{self.source}: no detection of video frame {number:06d}; count from 0, and "
                    "set the confidence of frames without a hand to 0"
                )
        numbers = range(len(rows))
        return self._select([f"{n:06d}" for n in numbers], [rows[n] for n in numbers])

    def first(self, count: int) -> Detections:
        """The first ``count`` rows."""
        return self._select(self.names[:count], list(range(count)))

    def on_frames(self, sizes: Int[np.ndarray, "n 2"]) -> Detections:
        """Keypoints scaled from ``image_size`` to frames of these (width, height), pixels.

        Raises:
            ValueError: if the aspect ratios of a frame and ``image_size`` differ.
        """
        if self.image_size is None:
            return self
        factors = sizes / np.array(self.image_size)
        for name, size, factor in zip(self.names, sizes.tolist(), factors, strict=True):
            if abs(factor[0] / factor[1] - 1) > 0.01:
                raise ValueError(
                    f"{self.source}: detections of {self.image_size} pixels do not fit {name!r} of "
                    f"{tuple(size)}; was the image cropped or rotated after the detection?"
                )
        scaled = factors[:, None] * (self.keypoints + 0.5) - 0.5
        return replace(self, keypoints=scaled, image_size=None)

    def _select(self, names: Sequence[str], rows: list[int]) -> Detections:
        sums = self.image_sha256
        return replace(
            self,
            names=tuple(names),
            keypoints=self.keypoints[rows],
            confidence=self.confidence[rows],
            image_sha256=None if sums is None else sums[rows],
        )

    def _unmatched(self, name: str, candidates: list[str]) -> str:
        if candidates:
            return (
                f"{self.source}: {name!r} matches several detections: {', '.join(candidates[:3])}"
            )
        known = ", ".join(repr(n) for n in self.names[:3]) or "none"
        return (
            f"{self.source}: no detection named {name!r} (the {len(self)} names are {known}, ...); "
            "run the detector on every image; an image without a hand gets confidence 0"
        )


NOT_YET = Detections((), np.zeros((0, NUM_JOINTS, 2)), np.zeros((0, NUM_JOINTS)))
"""Placeholder for detections that are still to be made. A dataset then keeps every frame, uncropped
and with confidence 0, and lists the image files and hand sides for the detector."""


def _stem(name: str) -> str:
    return _IMAGE_SUFFIX.sub("", name.replace("\\", "/"))
