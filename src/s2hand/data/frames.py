"""Own pictures and video: a folder of images or one video file, with its 2D detections."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor

from s2hand.data.base import HandDataset, content_key
from s2hand.data.cache import Layout, default_root, open_cache, write_cache
from s2hand.data.checks import check_intrinsics, report
from s2hand.data.crops import (
    CROP_PX,
    crop_image,
    place_boxes,
    runs_of,
)
from s2hand.data.detection_files import read_detections
from s2hand.data.detections import SIDES, Detections
from s2hand.data.video import Video, open_source
from s2hand.geometry.camera import (
    crop_affine,
    intrinsics_from_fov,
    mirror_affine,
    resize_affine,
    transform_points,
)
from s2hand.types import Camera, HandBatch

logger = logging.getLogger(__name__)

_CACHE_FORMAT = 1
Split = Literal["all", "train", "val"]


class FramesDataset(HandDataset):
    """The frames of a video, or the pictures of a folder, cropped around the detected hand.

    Everything comes from the detections: a confidence-weighted box per frame, smoothed over time
    where the frames are a sequence, cut to a square (:mod:`s2hand.data.crops`); keypoints and K
    follow into the crop's 224 pixels. :meth:`prepare` writes the crops once to a mapped file.
    Frames without any detected keypoint are dropped and counted (``reasons``).

    For whoever draws on the full frames there are ``positions`` [n] in the source, ``affines``
    [n, 3, 3] from full-frame to crop pixels (the mirroring included), ``frame_intrinsics``
    [n, 3, 3] and ``mirrored``.

    Args:
        source: a video file, an image or a folder of images (EXIF orientation respected).
        detections: the path that :func:`read_detections` reads, or what it returns, in pixels of
            the upright frames. Joined by name; for a video by frame number from 0.
        side: which hand the frames show; left hands are mirrored (image, keypoints and K).
        horizontal_fov_deg: makes K, principal point in the middle, where no intrinsics are given.
        intrinsics: K of the full upright frame, pixels.
        intrinsics_size: (width, height) that ``intrinsics`` was calibrated at, where it differs.
        image_px: side of the image tensor.
        margin: side of the crop as a multiple of the keypoints' extent.
        smooth_frames: sigma of the smoothing of boxes over time, in frames; 0 = none.
        sequence: whether neighbours in order are neighbours in time; by default only for a video.
        split: ``all``, or a part of a fixed split: of every ``val_every`` blocks of
            ``block_frames`` consecutive frames the last is ``val``, the others are ``train``.
        keep_all: keep frames without detection, with confidence 0 and the previous box of the
            sequence or else the full frame; for prediction.
        skip: file names of pictures to leave out, such as unreadable ones.
        cache_dir: where crops are kept; by default ``$S2HAND_CACHE`` or ``~/.cache/s2hand``.

    Raises:
        ValueError: for detections that do not match the frames, unreadable frames, an implausible
            K, and if no frame is left.
    """

    def __init__(
        self,
        source: str | Path,
        detections: str | Path | Detections,
        side: Literal["right", "left"] = "right",
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
        skip: Sequence[str] = (),
        cache_dir: str | Path | None = None,
    ) -> None:
        if side not in SIDES:
            raise ValueError(f"side={side!r}; use 'right' or 'left'")
        self.source, self.image_px, self.mirrored = Path(source), image_px, side == "left"
        self._source = open_source(self.source, skip)
        self._sequence = isinstance(self._source, Video) if sequence is None else sequence
        if not isinstance(detections, Detections):
            detections = read_detections(detections, side)
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
        cropped = np.flatnonzero(~np.isnan(boxes[:, 0]))
        self.reasons = _reasons(found, sizes, len(cropped))
        report(logger, str(source), len(cropped), len(found), self.reasons)
        kept = _in_split(cropped, split, val_every, block_frames)
        if not len(kept):
            raise ValueError(f"{source}: no frame in split {split!r} ({self.reasons})")
        K = _full_intrinsics(sizes, intrinsics, intrinsics_size, horizontal_fov_deg, self.source)

        self.positions = kept
        self._names = [found.names[i] for i in kept]
        self._set_crops(found, boxes, K)
        self._total, self._cropped, self._boxes = len(found), cropped, boxes
        self._rows = np.searchsorted(cropped, kept)
        crops = {"boxes": boxes[cropped].tolist(), "frames": cropped.tolist()}
        shape = {"image_px": image_px, "mirrored": self.mirrored, "format": _CACHE_FORMAT}
        key = content_key(files=self._source.key(), **crops, **shape)
        root = default_root() if cache_dir is None else Path(cache_dir).expanduser()
        self._cache = root / "frames" / f"{self.source.stem}-{key}"
        self._content_key = content_key(
            crops=key, detections=found.fingerprint, K=K.tolist(), kept=kept.tolist()
        )

    def _set_crops(
        self, found: Detections, boxes: Float[np.ndarray, "n 3"], K: Float[Tensor, "n 3 3"]
    ) -> None:
        """Bring keypoints and K of the kept frames into the pixels of their crops."""
        kept = self.positions
        flip = mirror_affine(CROP_PX) if self.mirrored else torch.eye(3, dtype=torch.float64)
        crops = [crop_affine(left, top, side, CROP_PX) for left, top, side in boxes[kept].tolist()]
        self.frame_intrinsics = K[kept]
        self.affines = flip @ torch.stack(crops)
        confidence = torch.from_numpy(found.confidence[kept])
        keypoints = transform_points(self.affines, torch.from_numpy(found.keypoints[kept]))
        # In the mirrored world X' = -X, which makes an ordinary camera of the flipped one.
        world = torch.diag(torch.tensor([-1.0 if self.mirrored else 1.0, 1.0, 1.0]).double())
        self._camera = Camera((self.affines @ K[kept] @ world).float())
        self._keypoints = (keypoints * (confidence > 0)[..., None]).float()
        self._confidence = confidence.float()

    def __len__(self) -> int:
        """Number of frames kept."""
        return len(self.positions)

    def __getitem__(self, index: int) -> HandBatch:
        """One crop with what was detected in it."""
        index = range(len(self))[index]
        pixels = torch.from_numpy(self._pixels[self._rows[index]].copy())
        return HandBatch(
            image=pixels.permute(2, 0, 1)[None].float() / 255,
            keypoints=self._keypoints[index, None],
            confidence=self._confidence[index, None],
            camera=self._camera[index, None],
            index=torch.tensor([index]),
        )

    @property
    def names(self) -> Sequence[str]:
        """File names of pictures; six-digit frame numbers of a video."""
        return self._names

    @property
    def content_key(self) -> str:
        """Changes with the files, the detections and every parameter that matters."""
        return self._content_key

    def pictures(self, indices: Sequence[int]) -> Iterator[Image.Image]:
        """The whole upright frames at increasing indices, not mirrored, read one by one."""
        return self._source.images(self.positions[list(indices)].tolist(), self._total)

    def segments(self) -> list[Sequence[int]]:
        """Runs of consecutive kept frames of a sequence; otherwise every frame for itself."""
        if not self._sequence:
            return super().segments()
        starts = np.cumsum([0, *map(len, runs_of(self.positions))]).tolist()
        return [range(first, end) for first, end in pairwise(starts)]

    def prepare(self) -> None:
        """Decode and crop all frames into the cache, unless they are there."""
        if not self._cache.is_dir():
            write_cache(self._cache, len(self._cropped), self._layout, self._cut())

    def _cut(self) -> Iterator[dict[str, UInt8[np.ndarray, "1 s s 3"]]]:
        images = self._source.images(self._cropped.tolist(), self._total)
        pairs = track(
            zip(self._boxes[self._cropped], images, strict=True),
            description=f"cropping {self.source.name}",
            total=len(self._cropped),
            console=Console(stderr=True),
            transient=True,
        )
        for box, image in pairs:
            crop = crop_image(image, box, self.image_px)
            yield {"image": (crop[:, ::-1] if self.mirrored else crop)[None]}

    @property
    def _layout(self) -> Layout:
        return {"image": ("|u1", (self.image_px, self.image_px, 3))}

    @cached_property
    def _pixels(self) -> UInt8[np.ndarray, "n s s 3"]:
        self.prepare()
        return open_cache(self._cache, len(self._cropped), self._layout)["image"]

    def __getstate__(self) -> dict[str, object]:
        # A worker maps the file itself; pickling a map would copy all of it.
        return {name: value for name, value in self.__dict__.items() if name != "_pixels"}


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
    """Counts of frames dropped, flagged or repaired."""
    detected = found.confidence > 0
    outside = (found.keypoints < -0.5) | (found.keypoints > sizes[:, None] - 0.5)
    empty = int((~detected.any(-1)).sum())
    return {
        "no keypoint detected": empty,
        "detection off the image": max(len(found) - empty - cropped, 0),
        "kept with keypoints outside the image": int((outside.any(-1) & detected).any(-1).sum()),
        **found.repaired,
    }


def _full_intrinsics(
    sizes: Int[np.ndarray, "n 2"],
    intrinsics: Sequence[Sequence[float]] | None,
    calibrated: Sequence[int] | None,
    horizontal_fov_deg: float,
    source: Path,
) -> Float[Tensor, "n 3 3"]:
    """K of each full upright frame."""
    if intrinsics is None:
        return torch.stack(
            [intrinsics_from_fov(w, h, horizontal_fov_deg) for w, h in sizes.tolist()]
        )
    K = np.asarray(intrinsics, dtype=np.float64)
    if K.shape != (3, 3):
        raise ValueError(
            f"intrinsics of shape {K.shape}; give 3x3: [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]"
        )
    from_sizes = sizes if calibrated is None else np.broadcast_to(calibrated, sizes.shape)
    check_intrinsics(np.broadcast_to(K, (len(sizes), 3, 3)), from_sizes, source)
    resize = [resize_affine(fx, fy) for fx, fy in (sizes / from_sizes).tolist()]
    return torch.stack(resize) @ torch.from_numpy(K)
