"""FreiHAND v2: single images of right hands, 224 x 224, cropped by its authors.

Format and counts: FreiHAND (Zimmermann et al., ICCV 2019) and its toolbox. Joints are in the
``freihand`` convention (:data:`s2hand.geometry.skeleton.JOINT_CONVENTIONS`): the regressor applied
to the posed vertices. K and pixels are kept as published (principal point at 112, 112).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from s2hand.data.base import HandDataset, content_key
from s2hand.data.checks import check_depth, check_intrinsics, report
from s2hand.data.crops import CROP_PX, crop_image
from s2hand.data.detections.base import NOT_YET, Detections
from s2hand.data.detections.files import read_detections
from s2hand.data.frames.sources import read_image
from s2hand.data.recorded.plausible import count_far, count_strange, strange_labels
from s2hand.data.storage.cache import read_once
from s2hand.data.storage.read_ahead import read_ahead
from s2hand.data.storage.texts import Texts
from s2hand.files.checksums import read_verified
from s2hand.files.json import json_rows
from s2hand.geometry.skeleton import NUM_JOINTS, NUM_VERTICES
from s2hand.types import Camera, HandBatch, Labels

logger = logging.getLogger(__name__)

VARIANTS = 4
"""Background versions of each training image; the published S2HAND uses 0, the green screen."""
Split = Literal["train", "val", "evaluation"]


class FreiHandDataset(HandDataset):
    """FreiHAND's training or evaluation images with detected keypoints; no crop, no sequences.

    Training reads K, images and detections, and no label file. Training images without a detected
    keypoint are dropped and counted (``reasons``). Evaluation keeps all images in order, with
    confidence 0 where nothing is detected.

    Args:
        root: the folder that holds ``training``, ``evaluation`` and the ``*_K.json`` files.
        detections: a path for :func:`read_detections`, or its result; joined by name
            (``00000012``). Optional (None) for evaluation.
        split: ``train``, ``val`` (the last ``val_count`` training samples) or ``evaluation``.
        variants: background versions of the training images, of 0..3; 0 is the green screen.
        val_count: training samples held out for ``val``; the published code holds out 2560.
        image_px: side of the image tensor.
        labels: read ``*_xyz.json`` and ``*_verts.json``. Samples have no labels if the evaluation
            files, which were published later, are absent.
        skip: names of training images to leave out, such as unreadable ones.

    Raises:
        FileNotFoundError: for the first missing file.
        ValueError: for lists of different lengths, detections with other names, labels behind the
            camera, and unreadable or resized images.
    """

    convention = "freihand"
    protocol = "freihand"

    def __init__(
        self,
        root: str | Path,
        detections: str | Path | Detections | None,
        split: Split = "train",
        variants: Sequence[int] = (0,),
        val_count: int = 0,
        image_px: int = CROP_PX,
        labels: bool = False,
        skip: Sequence[str] = (),
    ) -> None:
        self.root, self.split, self.image_px = Path(root), split, image_px
        self._prefix = "evaluation" if split == "evaluation" else "training"
        self.leaderboard = "freihand" if split == "evaluation" else None
        if self._prefix == "evaluation" and skip:
            raise ValueError("skip: evaluation keeps every image, the submission's order matters")
        path = self.root / f"{self._prefix}_K.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such file; root holds training/, evaluation/ and the *_K.json files"
            )
        # Choose the images, then join detections and labels with them.
        K = read_rows(path, (3, 3))
        check_intrinsics(K, np.full((len(K), 2), CROP_PX), path)
        ids = _image_ids(split, len(K), variants, val_count)
        skipped = np.isin([f"{i:08d}" for i in ids], list(skip))
        ids = ids[~skipped]
        found = self._join(detections, [f"{i:08d}" for i in ids])
        detected, strange = found.confidence.any(-1), np.zeros(len(ids), bool)
        self._labels = self._read_labels(len(K)) if labels else None
        flagged: dict[str, int] = {}
        if self._labels is not None:
            strange = strange_labels(*self._labels)[ids % len(K)]
            flagged |= count_strange(strange, f"{self.root} {split}", found.names)
            flagged |= count_far(self._labels[0][ids % len(K)], K[ids % len(K)], found)
        keep_all = split == "evaluation" or detections is NOT_YET
        kept = np.flatnonzero((detected & ~strange) | keep_all)
        if not len(kept):
            raise ValueError(
                f"{self.root}: no image in split {split!r} has a detected keypoint and plausible "
                "labels"
            )

        self._names = Texts(found.names[row] for row in kept)
        self._annotations = ids[kept] % len(K)
        self._intrinsics = torch.from_numpy(K[self._annotations]).float()
        self._confidence = torch.from_numpy(found.confidence[kept]).float()
        self._keypoints = torch.from_numpy(found.keypoints[kept]).float()
        sums = found.image_sha256
        self._image_sha256 = None if sums is None else sums[kept]
        outside = ((found.keypoints < -0.5) | (found.keypoints > CROP_PX - 0.5)).any(-1)
        self.reasons = {
            "no keypoint detected": int((~detected).sum()),
            "in the skip list": int(skipped.sum()),
            "with keypoints outside the image": int(
                (outside & (found.confidence > 0)).any(-1).sum()
            ),
            **flagged,
            **found.repaired,
        }
        """Number of images dropped (training only), flagged or repaired, by reason."""
        report(logger, f"{self.root} {split}", len(kept), len(ids), self.reasons)
        names = list(self._names)
        folder = os.path.join(self.root, self._prefix, "rgb")
        sizes = list(read_ahead(os.path.getsize, [f"{folder}/{name}.jpg" for name in names]))
        self._content_key = content_key(
            names=names, sizes=sizes, K=K.tolist(), detections=found.fingerprint, px=image_px
        )

    def _join(self, detections: str | Path | Detections | None, names: list[str]) -> Detections:
        if detections is None or detections is NOT_YET:
            if detections is None and self.split != "evaluation":
                raise ValueError("detections: training needs them, they are its only supervision")
            nothing = np.zeros((len(names), NUM_JOINTS, 3))
            return Detections(tuple(names), nothing[..., :2], nothing[..., 2])
        if not isinstance(detections, Detections):
            detections = read_detections(detections)
        return detections.of_images(names).on_frames(np.full((len(names), 2), CROP_PX))

    def _read_labels(self, count: int) -> tuple[np.ndarray, np.ndarray] | None:
        shapes = {"xyz": (NUM_JOINTS, 3), "verts": (NUM_VERTICES, 3)}
        paths = {kind: self.root / f"{self._prefix}_{kind}.json" for kind in shapes}
        if self.split == "evaluation" and not paths["xyz"].exists():
            logger.info("%s: no evaluation labels (%s)", self.root, paths["xyz"].name)
            return None
        arrays = []
        for kind, path in paths.items():
            rows = read_label_rows(path, shapes[kind])
            if len(rows) != count:
                raise ValueError(f"{path} has {len(rows)} samples, {self._prefix}_K.json {count}")
            check_depth(rows, path)
            arrays.append(rows)
        return arrays[0], arrays[1]

    def __len__(self) -> int:
        """Number of images kept."""
        return len(self._names)

    def __getitem__(self, index: int) -> HandBatch:
        """One image with its detections, and with its labels if ``labels``."""
        index = range(len(self))[index]
        whole = np.array([0.0, 0.0, CROP_PX])
        pixels = torch.from_numpy(crop_image(self.picture(index), whole, self.image_px).copy())
        return HandBatch(
            image=pixels.permute(2, 0, 1)[None].float() / 255,
            keypoints=self._keypoints[index, None],
            confidence=self._confidence[index, None],
            camera=Camera(self._intrinsics[index, None]),
            index=torch.tensor([index]),
            labels=self.labels_of(index),
            convention=self.convention,
        )

    def labels_of(self, index: int) -> Labels | None:
        """The labels of an image; the image is not read."""
        if self._labels is None:
            return None
        xyz, verts = (torch.from_numpy(a[self._annotations[index]].copy()) for a in self._labels)
        return Labels(joints=xyz[None], vertices=verts[None])

    def path(self, index: int) -> Path:
        """The image file of a sample."""
        return self.root / self._prefix / "rgb" / f"{self._names[index]}.jpg"

    def picture(self, index: int) -> Image.Image:
        """The published image of a sample.

        Raises:
            ValueError: if it is damaged, has another size, or does not match its checksum.
        """
        sums, path = self._image_sha256, self.path(index)
        image = read_image(path, b"" if sums is None else sums[index].tobytes())
        if image.size != (CROP_PX, CROP_PX):
            raise ValueError(
                f"{path} is {image.size[0]}x{image.size[1]}; K and detections belong to the "
                f"published {CROP_PX}x{CROP_PX} images; unpack the archive again without resizing"
            )
        return image

    @property
    def names(self) -> Sequence[str]:
        """Eight-digit image ids."""
        return self._names

    @property
    def content_key(self) -> str:
        """Changes with the images' names and sizes, K, the detections and the image size."""
        return self._content_key


def read_rows(
    path: Path, shape: tuple[int, ...], dtype: type[np.floating] = np.float64
) -> Float[np.ndarray, "n ..."]:
    """A FreiHAND annotation file, a JSON list over samples, as one array [n, *shape].

    Raises:
        ValueError: naming the file and the malformed sample.
    """
    # Replaced bytes fail to parse, so the error names their sample.
    text = read_verified(path).decode("utf-8", errors="replace")
    return json_rows(text, path, shape, dtype)[0]


def read_label_rows(path: Path, shape: tuple[int, ...]) -> Float[np.ndarray, "n ..."]:
    """A label file like :func:`read_rows`, but float32, memory-mapped and parsed once.

    Meshes are gigabytes of JSON; memory-mapping lets the processes of a run share them.

    Raises:
        ValueError: naming the file and the malformed sample.
    """

    def read() -> tuple[int, list[dict[str, np.ndarray]]]:
        rows = read_rows(path, shape, np.float32)
        return len(rows), [{"rows": rows}]

    return read_once("freihand-labels", 1, [path], {"rows": ("<f4", shape)}, read)["rows"]


def _image_ids(split: Split, count: int, variants: Sequence[int], val_count: int) -> np.ndarray:
    """Image ids of a split; id = sample + ``count`` x variant, ``count`` = 32560 as published."""
    if split == "evaluation":
        return np.arange(count)
    if not variants or not set(variants) <= set(range(VARIANTS)):
        raise ValueError(f"variants={list(variants)}: choose from 0..{VARIANTS - 1}")
    if not 0 <= val_count < count:
        raise ValueError(
            f"val_count={val_count}: there are {count} training samples; hold out fewer "
            "(dataset.val_count=...), or none: 0, and data.val=null"
        )
    first_val = count - val_count
    samples = {"train": np.arange(first_val), "val": np.arange(first_val, count)}
    if split not in samples:
        raise ValueError(f"split={split!r}; use 'train', 'val' or 'evaluation'")
    if not len(samples[split]):
        raise ValueError("split='val' is empty: give val_count, such as 2560")
    return np.concatenate([samples[split] + count * v for v in variants])
