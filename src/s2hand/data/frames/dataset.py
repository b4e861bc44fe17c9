"""The user's pictures or video: a folder of images or a video file, with its 2D detections."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from s2hand.data.base import HandDataset, content_key
from s2hand.data.checks import listed, report
from s2hand.data.crops import CROP_PX, place_boxes, runs_of
from s2hand.data.detections.base import SIDES, Detections
from s2hand.data.detections.files import read_detections
from s2hand.data.frames.crops import FrameCrops
from s2hand.data.frames.sources import Video, open_source
from s2hand.data.intrinsics import full_intrinsics
from s2hand.geometry.camera import crop_affine, crop_view, transform_points
from s2hand.types import Camera, HandBatch

logger = logging.getLogger(__name__)

Split = Literal["all", "train", "val"]

BEHIND_DAMAGE = "behind damage in the video"
"""Key in ``reasons``: the number of detections of frames that cannot be read."""


class FramesDataset(HandDataset):
    """The frames of a video, or the pictures of a folder, cropped around the detected hand.

    The crops are computed from the detections: a confidence-weighted square box per frame, smoothed
    over time where the frames are a sequence (:mod:`s2hand.data.crops`). Keypoints and K are
    transformed to the crop's 224 pixels. :meth:`prepare` writes the crops once to a mapped file.
    Frames without any detected keypoint are dropped and counted (``reasons``). Of a damaged or
    truncated video, the frames before the damage are used, with a warning.

    Attributes hold the values of all n frames: ``keypoints`` [n, 21, 2], ``confidence`` [n, 21] and
    ``camera`` [n] of the crops. For drawing on the full frames there are ``positions`` [n] in the
    source of ``total`` frames (with ``source_names`` and ``source_sizes`` [total, 2], width and
    height), ``affines`` [n, 3, 3] from full-frame to crop pixels (including the mirroring),
    ``frame_intrinsics`` [n, 3, 3] and ``mirrored``. ``times`` [n] are the video's time stamps in
    seconds from its first frame, ``source_fps`` is its mean rate and ``fps`` the rate of the frames
    used (every ``every``-th); all three are None for pictures.

    Args:
        source: a video file, an image or a folder of images (EXIF orientation respected).
        detections: a path for :func:`read_detections`, or its result, in pixels of the upright
            frames. Joined by name; for a video by frame number from 0.
        side: the hand that the frames show; left hands are mirrored (image, keypoints and K).
        track: index of the hand in the file of detections; by default the first of the side.
        horizontal_fov_deg: field of view for K without ``intrinsics``; its principal point is the
            middle.
        intrinsics: K of the full upright frame, pixels.
        intrinsics_size: (width, height) of the calibration of ``intrinsics``, if it differs.
        image_px: side of the image tensor.
        margin: side of the crop as a multiple of the keypoints' extent.
        smooth_frames: sigma of the smoothing of boxes over time, in frames; 0 = none.
        sequence: whether successive frames are consecutive in time; by default only for a video.
        split: ``all``, or a part of a fixed split: of every ``val_every`` blocks of
            ``block_frames`` consecutive frames the last is ``val``, the others are ``train``.
        keep_all: keep frames without detection, with confidence 0 and the previous box of the
            sequence or else the full frame; for prediction.
        every: use every n-th frame only; the frames between are not cropped and are not a gap.
        skip: file names of pictures to leave out, such as unreadable ones.
        cache_dir: folder of the crops; by default ``$S2HAND_CACHE`` or ``~/.cache/s2hand``.

    Raises:
        ValueError: if detections do not match the frames, frames are unreadable, K is implausible,
            or no frame is left.

    >>> from tempfile import TemporaryDirectory
    >>> found = Detections(("0.png",), 20 + np.arange(42.0).reshape(1, 21, 2), np.ones((1, 21)))
    >>> with TemporaryDirectory() as folder:
    ...     Image.new("RGB", (96, 64)).save(Path(folder) / "0.png")
    ...     frames = FramesDataset(folder, found, cache_dir=folder)
    ...     print(frames.names, frames.keypoints.shape, frames[0].image.shape)
    ['0.png'] torch.Size([1, 21, 2]) torch.Size([1, 3, 224, 224])
    """

    def __init__(
        self,
        source: str | Path,
        detections: str | Path | Detections,
        side: Literal["right", "left"] = "right",
        track: int | None = None,
        horizontal_fov_deg: float = 60.0,
        intrinsics: Sequence[Sequence[float]] | None = None,
        intrinsics_size: Sequence[int] | None = None,
        image_px: int = CROP_PX,
        margin: float = 1.7,
        smooth_frames: float = 4.0,
        sequence: bool | None = None,
        split: Split = "all",
        val_every: int = 5,
        block_frames: int = 30,
        keep_all: bool = False,
        every: int = 1,
        skip: Sequence[str] = (),
        cache_dir: str | Path | None = None,
    ) -> None:
        if side not in SIDES:
            raise ValueError(f"side={side!r}; use 'right' or 'left'")
        if every < 1:
            raise ValueError(f"every={every}: use every n-th frame, n at least 1")
        self.every = every
        self.source, self.image_px, self.mirrored = Path(source), image_px, side == "left"
        self._source = open_source(self.source, skip)
        self._sequence = isinstance(self._source, Video) if sequence is None else sequence
        if not isinstance(detections, Detections):
            detections = read_detections(detections, side, track)
        # Detections joined to the frames, and a box around the hand in each.
        found = self._source.join(detections)
        sizes = np.array(list(islice(self._source.sizes(), len(found)))).reshape(-1, 2)
        found = found.on_frames(sizes)
        boxes = place_boxes(
            found.keypoints,
            found.confidence,
            sizes,
            margin,
            smooth_frames,
            self._sequence,
            keep_all,
        )
        # Frames that show a hand, and those of them that the split and ``every`` keep.
        usable = np.flatnonzero(~np.isnan(boxes[:, 0]))
        self.reasons = _reasons(found, sizes, len(usable))
        if isinstance(self._source, Video):
            self.reasons[BEHIND_DAMAGE] = len(detections) - len(found)
        _report(self.source, found, len(usable), self.reasons)
        if not len(usable):
            raise ValueError(
                f"{source}: none of its {len(found)} frames can be used ({listed(self.reasons)}); "
                f"are the detections of this source, and of its {side} hand?"
            )
        cropped = usable[usable % every == 0]
        kept = _in_split(cropped, split, val_every, block_frames)
        if not len(kept):
            raise ValueError(
                f"{source}: no frame in split {split!r} of its {len(usable)} usable frames, with "
                f"every={every}, val_every={val_every} and block_frames={block_frames}"
            )
        K = full_intrinsics(sizes, intrinsics, intrinsics_size, horizontal_fov_deg, self.source)

        self.positions, self.total = kept, len(found)
        self.source_names, self.source_sizes = found.names, sizes
        times = self._source.times
        self.times = None if times is None else times[kept]
        self.source_fps = self._source.fps
        self.fps = None if self.source_fps is None else self.source_fps / every
        self._names = [found.names[i] for i in kept]
        self._set_crops(found, boxes, K)
        self._rows = np.searchsorted(cropped, kept)
        self._crops = FrameCrops(
            self._source, self.source.name, cropped, boxes[cropped], image_px, self.mirrored,
            cache_dir,
        )  # fmt: skip
        self._content_key = content_key(
            crops=self._crops.key, detections=found.fingerprint, K=K.tolist(), kept=kept.tolist()
        )

    def _set_crops(
        self, found: Detections, boxes: Float[np.ndarray, "n 3"], K: Float[Tensor, "n 3 3"]
    ) -> None:
        """Transform keypoints and K of the kept frames to the pixels of their crops."""
        kept = self.positions
        crops = [crop_affine(left, top, side, CROP_PX) for left, top, side in boxes[kept].tolist()]
        self.frame_intrinsics = K[kept]
        self.affines, intrinsics = crop_view(torch.stack(crops), K[kept], CROP_PX, self.mirrored)
        confidence = torch.from_numpy(found.confidence[kept])
        keypoints = transform_points(self.affines, torch.from_numpy(found.keypoints[kept]))
        self.camera = Camera(intrinsics.float())
        self.keypoints = (keypoints * (confidence > 0)[..., None]).float()
        self.confidence = confidence.float()

    def __len__(self) -> int:
        """Number of frames kept."""
        return len(self.positions)

    def __getitem__(self, index: int) -> HandBatch:
        """One crop with its detection."""
        index = range(len(self))[index]
        pixels = torch.from_numpy(self._crops[self._rows[index]])
        return HandBatch(
            image=pixels.permute(2, 0, 1)[None].float() / 255,
            keypoints=self.keypoints[index, None],
            confidence=self.confidence[index, None],
            camera=self.camera[index, None],
            index=torch.tensor([index]),
            left=torch.tensor([True]) if self.mirrored else None,
        )

    @property
    def names(self) -> Sequence[str]:
        """File names of pictures; six-digit frame numbers of a video."""
        return self._names

    @property
    def content_key(self) -> str:
        """Changes with the files, the detections and every parameter that affects the frames."""
        return self._content_key

    def pictures(self, indices: Sequence[int]) -> Iterator[Image.Image]:
        """The whole upright frames at increasing indices, not mirrored, read one by one."""
        return self._source.images(self.positions[list(indices)].tolist())

    def source_pictures(self, numbers: Sequence[int]) -> Iterator[Image.Image]:
        """Like :meth:`pictures`, by number in the source, so including frames without a hand."""
        return self._source.images(list(numbers))

    def segments(self) -> list[Sequence[int]]:
        """Runs of consecutive kept frames of a sequence; otherwise single frames."""
        if not self._sequence:
            return super().segments()
        starts = np.cumsum([0, *map(len, runs_of(self.positions // self.every))]).tolist()
        return [range(first, end) for first, end in pairwise(starts)]

    def is_left(self, index: int) -> bool:
        """Whether the frames show a left hand; the same for all frames."""
        return self.mirrored

    def prepare(self) -> None:
        """Decode and crop all frames into the cache, unless it exists."""
        self._crops.prepare()


def _in_split(
    positions: Int[np.ndarray, " n"], split: Split, val_every: int, block_frames: int
) -> Int[np.ndarray, " m"]:
    if split not in ("all", "train", "val") or val_every < 2 or block_frames < 1:
        raise ValueError(
            f"split={split!r}, val_every={val_every}, block_frames={block_frames}: use 'all', "
            "'train' or 'val', at least every second block, and blocks of at least one frame"
        )
    if split == "all":
        return positions
    val = positions // block_frames % val_every == val_every - 1
    return positions[val if split == "val" else ~val]


def _reasons(found: Detections, sizes: Int[np.ndarray, "n 2"], cropped: int) -> dict[str, int]:
    """Reason -> number of frames dropped, flagged or repaired."""
    detected = found.confidence > 0
    outside = (found.keypoints < -0.5) | (found.keypoints > sizes[:, None] - 0.5)
    empty = int((~detected.any(-1)).sum())
    return {
        "no keypoint detected": empty,
        "detection off the image": max(len(found) - empty - cropped, 0),
        "kept with keypoints outside the image": int((outside.any(-1) & detected).any(-1).sum()),
        **found.repaired,
    }


def _report(source: Path, found: Detections, usable: int, reasons: dict[str, int]) -> None:
    """Log how many frames are kept; if some have no hand, how many show one."""
    detected = int((found.confidence > 0).any(-1).sum())
    if 0 < detected < usable:
        report(logger, str(source), detected, len(found), reasons, "with a hand")
    else:
        report(logger, str(source), usable, len(found), reasons)
