"""Encode a frame as bytes of a shard and decode it: bit-identical, or an error."""

from __future__ import annotations

import io
from dataclasses import fields

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from s2hand.data.shards.format import PackedIndex
from s2hand.types import Camera, HandBatch, Labels

LABELS = tuple(field.name for field in fields(Labels))


def encode_frame(sample: HandBatch, index: PackedIndex) -> tuple[bytes, bytes]:
    """The PNG of a frame [1, ...] (empty with ``raw``), and its record.

    Raises:
        ValueError: if decoding would not restore the frame: pixels that are not 8-bit colours,
            numbers that are not 32-bit floats, or other fields than the dataset's first frame.
    """
    number = int(sample.index)
    problem = "images must be 8-bit colours in 0..1, numbers 32-bit floats, as in the first frame"
    try:
        png, numbers = _bytes(sample, index)
        if _equal(decode_frame(png + numbers, index, number), sample):
            return png, numbers
    except ValueError as error:
        problem = str(error)
    raise ValueError(
        f"frame {index.names[number]!r} of {index.dataset} cannot be packed without loss: {problem}"
    )


def decode_frame(block: bytes, index: PackedIndex, number: int) -> HandBatch:
    """Frame ``number`` [1, ...] from its bytes: an optional PNG, with the record at the end.

    Raises:
        ValueError: for bytes that are not such a frame.
    """
    size = index.record.itemsize
    record = np.frombuffer(block, index.record, 1, len(block) - size)[0]
    names = index.record.names or ()
    tensors = {name: torch.from_numpy(record[name].copy())[None] for name in names}
    if index.raw:
        pixels = tensors["image"][0]
        pixels = pixels if index.planar else pixels.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    else:
        pixels = torch.from_numpy(_pixels(block, index.image_px)).permute(2, 0, 1)
        pixels = pixels.contiguous() if index.planar else pixels
    return HandBatch(
        image=pixels[None].float() / 255,
        keypoints=tensors["keypoints"],
        confidence=tensors["confidence"],
        camera=Camera(tensors["intrinsics"], index.crop_px),
        index=torch.tensor([number]),
        labels=Labels(**{n: tensors[n] for n in LABELS if n in tensors}) if index.labels else None,
        left=torch.tensor([number in index.left_frames]) if index.left else None,
        convention=index.convention,
    )


def npy_header(record: np.dtype[np.void]) -> bytes:
    """The header that turns a record into a .npy file of one element."""
    file = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(record)
    header = {"descr": descr, "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def _bytes(sample: HandBatch, index: PackedIndex) -> tuple[bytes, bytes]:
    pixels = (sample.image[0] * 255).round().byte()
    values = {
        "keypoints": sample.keypoints,
        "confidence": sample.confidence,
        "intrinsics": sample.camera.intrinsics,
        "image": pixels[None],
    }
    if sample.labels is not None:
        values |= label_tensors(sample.labels)
    record = np.zeros((), index.record)
    for name in values.keys() & set(index.record.names or ()):
        record[name] = values[name][0].numpy()
    return b"" if index.raw else _png(pixels.permute(1, 2, 0).numpy()), record.tobytes()


def label_tensors(labels: Labels) -> dict[str, Tensor]:
    """The labels that are not None, by name."""
    tensors = {name: getattr(labels, name) for name in LABELS}
    return {name: value for name, value in tensors.items() if value is not None}


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _pixels(png: bytes, side: int) -> np.ndarray:
    """[side, side, 3] uint8. Another size or mode is not decoded; trailing bytes are not read."""
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            if image.size != (side, side) or image.mode != "RGB":
                raise ValueError(f"a {image.mode} image of size {image.size}, not RGB of {side} px")
            return np.array(image)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"not a readable PNG: {error}") from error


def _leaves(sample: HandBatch) -> list[Tensor]:
    labels = [] if sample.labels is None else label_tensors(sample.labels).values()
    K = sample.camera.intrinsics
    return [sample.image, sample.keypoints, sample.confidence, K, sample.index, *labels]


def _equal(a: HandBatch, b: HandBatch) -> bool:
    """Whether two samples agree in bits, types, shapes and memory layout."""
    leaves_a, leaves_b = _leaves(a), _leaves(b)
    return (
        a.camera.crop_px == b.camera.crop_px
        and a.image[0].stride() == b.image[0].stride()
        and [(x.dtype, x.shape) for x in leaves_a] == [(x.dtype, x.shape) for x in leaves_b]
        and [x.numpy().tobytes() for x in leaves_a] == [x.numpy().tobytes() for x in leaves_b]
    )
