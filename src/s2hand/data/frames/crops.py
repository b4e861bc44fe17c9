"""The crops of a video or a folder of pictures: cut once, then read from a mapped file."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from s2hand.data.base import content_key
from s2hand.data.crops import crop_image
from s2hand.data.frames.sources import FrameSource
from s2hand.data.storage.cache import Layout, open_cache, write_cache
from s2hand.files.folders import default_root
from s2hand.files.progress import progress

_FORMAT = 1


class FrameCrops:
    """Square crops of chosen frames of a source; row i is the crop of the i-th chosen frame.

    Args:
        source: the frames.
        name: name of the source, for the folder's name and the progress bar.
        numbers: numbers of the frames to crop, increasing.
        boxes: (left, top, side) of each crop, pixel edges of the upright frame.
        image_px: side of the crops.
        mirrored: whether to flip the crops.
        cache_dir: folder of the cache; by default ``$S2HAND_CACHE`` or ``~/.cache/s2hand``.
    """

    def __init__(
        self,
        source: FrameSource,
        name: str,
        numbers: Int[np.ndarray, " n"],
        boxes: Float[np.ndarray, "n 3"],
        image_px: int,
        mirrored: bool,
        cache_dir: str | Path | None = None,
    ) -> None:
        self._source, self._name, self._mirrored = source, name, mirrored
        self._numbers, self._boxes, self._image_px = numbers, boxes, image_px
        self.key = content_key(
            files=source.key(), boxes=boxes.tolist(), frames=numbers.tolist(),
            image_px=image_px, mirrored=mirrored, format=_FORMAT,
        )  # fmt: skip
        root = default_root() if cache_dir is None else Path(cache_dir).expanduser()
        self._folder = root / "frames" / f"{Path(name).stem}-{self.key}"

    def __getitem__(self, row: int) -> UInt8[np.ndarray, "s s 3"]:
        """One crop, RGB."""
        return self._pixels[row].copy()

    def prepare(self) -> None:
        """Decode and crop all frames into the cache, unless it exists."""
        if not self._folder.is_dir():
            write_cache(self._folder, len(self._numbers), self._layout, self._cut())

    def _cut(self) -> Iterator[dict[str, UInt8[np.ndarray, "1 s s 3"]]]:
        pairs = zip(self._boxes, self._source.images(self._numbers.tolist()), strict=True)
        count = len(self._numbers)
        for box, image in progress(pairs, f"cropping {self._name}", count, "frame"):
            crop = crop_image(image, box, self._image_px)
            yield {"image": (crop[:, ::-1] if self._mirrored else crop)[None]}

    @property
    def _layout(self) -> Layout:
        return {"image": ("|u1", (self._image_px, self._image_px, 3))}

    @cached_property
    def _pixels(self) -> UInt8[np.ndarray, "n s s 3"]:
        self.prepare()
        return open_cache(self._folder, len(self._numbers), self._layout)["image"]

    def __getstate__(self) -> dict[str, object]:
        # Each worker maps the file: pickling the map would copy all of it.
        return {name: value for name, value in self.__dict__.items() if name != "_pixels"}
