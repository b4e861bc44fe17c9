"""MediaPipe's HandLandmarker (Tasks API); no other module imports MediaPipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from s2hand.detect.hands import FoundHand, Side

_SIDES: dict[str, Side] = {"Left": "left", "Right": "right"}
_PADDING = 0.5  # border as a fraction of the longer side, where nothing was found without one


class HandLandmarker:
    """Finds hands in pictures, or in the frames of one video; close it, or use it in ``with``.

    The palm detector misses a hand that fills the picture: where it finds none, the picture is
    searched again with a black border.

    Args:
        model: path of ``hand_landmarker.task``.
        hands: maximum number of hands.
        video: whether the pictures are the frames of one video: hands are then tracked from frame
            to frame, which is faster and steadier than searching every frame.
        pad: whether to search again with a border.

    Raises:
        ModuleNotFoundError: if MediaPipe is not installed.
        ValueError: naming the file, if it is not a model.
    """

    def __init__(self, model: Path, hands: int = 2, video: bool = False, pad: bool = True) -> None:
        if hands < 1:
            raise ValueError(f"hands={hands}: search for at least one hand")
        self._model, self._hands, self._video, self._pad = model, hands, video, pad
        self._last_ms = -1
        self._padded: HandLandmarker | None = None
        with _quiet_stderr():
            self._mediapipe, self._landmarker = _open(model, hands, video)
            # The first call starts the networks, which report it on stderr.
            self._detect(np.zeros((64, 64, 3), np.uint8), 0.0)

    def __call__(
        self, picture: UInt8[np.ndarray, "h w 3"], seconds: float = 0.0
    ) -> list[FoundHand]:
        """Hands of an upright RGB picture, in the detector's order: the most certain first.

        ``seconds`` is the presentation time of a video's frame; frames come in order.
        """
        found = self._detect(np.ascontiguousarray(picture), seconds)
        if found or not self._pad:
            return found
        if self._padded is None:
            self._padded = HandLandmarker(self._model, self._hands, pad=False)
        border = round(_PADDING * max(picture.shape[:2]))
        padded = np.pad(picture, ((border, border), (border, border), (0, 0)))
        return [
            FoundHand(hand.keypoints - border, hand.side, hand.score)
            for hand in self._padded(padded)
        ]

    def close(self) -> None:
        """Free the networks."""
        self._landmarker.close()
        if self._padded is not None:
            self._padded.close()

    def __enter__(self) -> HandLandmarker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _detect(self, picture: UInt8[np.ndarray, "h w 3"], seconds: float) -> list[FoundHand]:
        image = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=picture)
        if self._video:
            # Times must increase, but frames of a fast or variable rate may share a millisecond.
            self._last_ms = max(self._last_ms + 1, round(1000 * seconds))
            result = self._landmarker.detect_for_video(image, self._last_ms)
        else:
            result = self._landmarker.detect(image)
        height, width = picture.shape[:2]
        return [
            FoundHand(
                _pixels(points, width, height), _SIDES[kinds[0].category_name], kinds[0].score
            )
            for points, kinds in zip(result.hand_landmarks, result.handedness, strict=True)
        ]


def version() -> str:
    """MediaPipe's version."""
    return metadata.version("mediapipe")


def _open(model: Path, hands: int, video: bool) -> tuple[Any, Any]:
    """The module and a landmarker."""
    try:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision
    except ImportError as error:
        raise ModuleNotFoundError(
            f"detection needs MediaPipe ({error}): pip install 's2hand[detect]'"
        ) from error
    options = vision.HandLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model)),
        running_mode=vision.RunningMode.VIDEO if video else vision.RunningMode.IMAGE,
        num_hands=hands,
    )
    try:
        return mediapipe, vision.HandLandmarker.create_from_options(options)
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{model} is not a hand_landmarker.task that MediaPipe can open ({reason}); "
            "s2hand-detect --get-model makes one"
        ) from error


def _pixels(points: Any, width: int, height: int) -> Float[np.ndarray, "21 2"]:
    """Normalised landmarks in pixels: from an origin at the corner to pixel centres at integers."""
    return np.array([[p.x * width - 0.5, p.y * height - 0.5] for p in points])


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Drop the log of MediaPipe's networks on the process's stderr, which no setting switches off.

    The file descriptor is redirected, not Python's ``sys.stderr``, so exceptions are still raised.
    """
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
