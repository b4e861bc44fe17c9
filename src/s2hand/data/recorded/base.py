"""Recorded sequences with calibrated cameras, cropped around the detected hand.

Common base of the loaders of HO-3D, DexYCB, STB, RHD, HanCo, InterHand2.6M and YouTube-3D-Hands.
Each loader lists the frames of its format in a
:class:`~s2hand.data.recorded.frame_table.FrameTable`; :class:`RecordedDataset` joins the
detections, places the crops and returns the samples.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from s2hand.data.base import HandDataset, content_key
from s2hand.data.checks import check_depth, check_intrinsics, report
from s2hand.data.crops import CROP_PX, crop_image
from s2hand.data.detections.base import NOT_YET, Detections
from s2hand.data.frames.sources import read_image
from s2hand.data.recorded.frame_table import FrameTable, recordings, runs
from s2hand.data.recorded.joining import count_detections, join_detections, place_crops
from s2hand.data.recorded.plausible import count_far, count_strange, strange_labels
from s2hand.data.storage.read_ahead import read_ahead
from s2hand.data.storage.texts import Texts
from s2hand.geometry.camera import crop_affine, crop_view, transform_points
from s2hand.geometry.skeleton import NUM_JOINTS, NUM_VERTICES
from s2hand.types import Camera, HandBatch, Labels

logger = logging.getLogger(__name__)

IMAGE_SIZE = (640, 480)
"""(width, height) of the frames of HO-3D, DexYCB and STB."""
_VERSION = 1


class RecordedDataset(HandDataset):
    """The frames of a :class:`FrameTable`, decoded on access; left hands are mirrored.

    Crops depend on detections alone (:func:`~s2hand.data.crops.place_boxes`). They are smoothed
    within runs of consecutive frames and are deterministic. Frames without a usable detection
    (:func:`~s2hand.data.recorded.joining.too_few`) are dropped and counted in ``reasons``. With
    ``keep_all`` they are cropped to the table's box, else to the previous frame's box, else to the
    whole image.

    Frames with implausible labels (:func:`~s2hand.data.recorded.plausible.strange_labels`) are
    counted, and dropped unless ``keep_all``; a warning names the first.

    Args:
        table: the frames.
        detections: a path for :func:`read_detections`, or its result; joined by name. None is
            allowed with ``keep_all`` only.
        keep_all: keep every frame in order; for evaluation.
        image_px: side of the image tensor.
        margin: side of the crop as a multiple of the keypoints' extent.
        smooth_frames: sigma of the smoothing of boxes over time, in frames; 0 = none.
        skip: names of frames to leave out, such as unreadable ones; not with ``keep_all``.
        source: name of the data in messages.
        dropped: number of frames that the loader left out of the table, by reason.

    Raises:
        FileNotFoundError: for the first missing image.
        ValueError: for detections of other names, labels behind the camera, an implausible K, and
            if no frame is left.
    """

    fps: float | None = 30.0
    image_size: tuple[int, int] = IMAGE_SIZE
    """(width, height) of the published images, which K, labels and detections refer to. A table
    with ``sizes`` overrides it per image."""

    def __init__(
        self,
        table: FrameTable,
        detections: str | Path | Detections | None,
        *,
        keep_all: bool,
        image_px: int,
        margin: float,
        smooth_frames: float,
        source: str,
        dropped: Mapping[str, int],
        skip: Sequence[str] = (),
    ) -> None:
        self.image_px = image_px
        total = len(table.names) + sum(dropped.values())
        # Select the frames.
        if skip and keep_all:
            raise ValueError("skip: an evaluation keeps every frame; leave skip out")
        if skip:
            listed = np.isin(table.names, list(skip))
            table = table.rows(np.flatnonzero(~listed))
            dropped = {**dropped, "in the skip list": int(listed.sum())}
        keep_all |= detections is NOT_YET
        if table.sizes is None:
            table = replace(table, sizes=np.full((len(table.names), 2), self.image_size))
        table, strange = _checked(table, source, keep_all)
        sizes = table.sizes
        assert sizes is not None
        # Place the crops; a frame without a box is dropped.
        found = join_detections(detections, table, required=not keep_all)
        boxes = place_crops(table, found, margin, smooth_frames, keep_all)
        kept = np.flatnonzero(~np.isnan(boxes[:, 0]))
        counts = {}
        if detections is not NOT_YET:
            counts = count_detections(found, sizes, keep_all, len(kept))
        self.reasons = {**dropped, **strange, **counts}
        """Number of frames dropped (not with ``keep_all``), flagged or repaired, by reason."""
        if table.joints is not None:
            self.reasons |= count_far(table.joints, table.intrinsics, found)
        report(logger, source, len(kept), total, self.reasons)
        if not len(kept):
            raise ValueError(f"{source}: no usable frame of {total} ({self.reasons})")
        self._table, self._boxes = table.rows(kept), boxes[kept]
        self._has_left = bool(self._table.left.any())
        self._keypoints = torch.from_numpy(found.keypoints[kept])
        self._confidence = torch.from_numpy(found.confidence[kept]).float()
        sums = found.image_sha256
        self._image_sha256 = None if sums is None else sums[kept]
        self._content_key = content_key(
            version=_VERSION,
            names=self._table.names,
            sizes=list(read_ahead(os.path.getsize, self._table.files)),
            geometry=_digest(self._table.intrinsics, self._boxes, self._table.left),
            detections=found.fingerprint,
            px=image_px,
        )
        # Workers would copy a list of strings object by object; Texts are shared.
        self._files = Texts(str(file) for file in self._table.files)
        detection_names = self._table.detection_names
        self._table = replace(
            self._table,
            files=(),
            names=Texts(self._table.names),
            detection_names=Texts(detection_names) if detection_names else None,
        )

    def __len__(self) -> int:
        """Number of frames kept."""
        return len(self._boxes)

    def __getitem__(self, index: int) -> HandBatch:
        """One crop with its detections, and its labels if the loader reads them."""
        index = range(len(self))[index]
        left, top, side = self._boxes[index].tolist()
        K = torch.from_numpy(self._table.intrinsics[index]).double()
        crop = crop_affine(left, top, side, CROP_PX)
        affine, K = crop_view(crop, K, CROP_PX, self.is_left(index))
        confidence = self._confidence[index, None]
        keypoints = transform_points(affine, self._keypoints[index, None])
        pixels = crop_image(self.picture(index), self._boxes[index], self.image_px)
        pixels = pixels[:, ::-1] if self.is_left(index) else pixels
        return HandBatch(
            image=torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255,
            keypoints=(keypoints * (confidence > 0)[..., None]).float(),
            confidence=confidence,
            camera=Camera(K[None].float()),
            index=torch.tensor([index]),
            labels=self.labels_of(index),
            left=torch.tensor([self.is_left(index)]) if self._has_left else None,
            convention=self.convention,
        )

    def labels_of(self, index: int) -> Labels | None:
        """The labels of a frame, mirrored for a left hand; no image is read."""
        if self._table.joints is None and self._table.vertices is None:
            return None
        mirror = torch.tensor([-1.0 if self.is_left(index) else 1.0, 1.0, 1.0])

        def of_frame(points: Float[np.ndarray, "n p 3"] | None, count: int) -> torch.Tensor:
            if points is None:
                return torch.full((1, count, 3), torch.nan)
            return (torch.from_numpy(points[index].astype(np.float32)) * mirror)[None]

        visible = self._table.visible
        return Labels(
            joints=of_frame(self._table.joints, NUM_JOINTS),
            vertices=of_frame(self._table.vertices, NUM_VERTICES),
            visible=None if visible is None else torch.from_numpy(visible[index])[None],
        )

    def detection_name(self, index: int) -> str:
        """The name of a frame in detection files."""
        return (self._table.detection_names or self._table.names)[index]

    def is_left(self, index: int) -> bool:
        """Whether a frame shows a left hand; its sample is mirrored."""
        return bool(self._table.left[index])

    def path(self, index: int) -> Path:
        """The image file of a frame."""
        return Path(self._files[index])

    def picture(self, index: int) -> Image.Image:
        """The whole image of a frame.

        Raises:
            ValueError: if it is damaged, has another size, or does not match its checksum.
        """
        sums, path = self._image_sha256, self.path(index)
        image = read_image(path, b"" if sums is None else sums[index].tobytes())
        assert self._table.sizes is not None
        width, height = self._table.sizes[index].tolist()
        if image.size != (width, height):
            raise ValueError(
                f"{path} is {image.size[0]}x{image.size[1]}; K and labels belong to the "
                f"published {width}x{height} images; unpack the archive again without resizing"
            )
        return image

    @property
    def names(self) -> Sequence[str]:
        """``recording/frame``."""
        return self._table.names

    @property
    def content_key(self) -> str:
        """Changes with the images' names and sizes, cameras, detections, crops and crop size."""
        return self._content_key

    def segments(self) -> list[Sequence[int]]:
        """Runs of kept frames with consecutive numbers in one recording."""
        return [run.tolist() for run in runs(self._table)]


def _checked(table: FrameTable, source: str, keep_all: bool) -> tuple[FrameTable, dict[str, int]]:
    """The frames with plausible labels (all with ``keep_all``), and the number of the others.

    Raises:
        ValueError: for an implausible K, and for labels behind the camera.
    """
    assert table.sizes is not None
    check_intrinsics(table.intrinsics, table.sizes, source, table.names)
    for points in (table.joints, table.vertices):
        if points is not None:
            check_depth(points, source, table.names)
    if table.joints is None:
        return table, {}
    strange = strange_labels(table.joints, table.vertices, recordings(table))
    counts = count_strange(strange, source, table.names)
    return table if keep_all else table.rows(np.flatnonzero(~strange)), counts


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
