"""The hands of every frame of a recording, with a confidence for each keypoint."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from jaxtyping import UInt8

from s2hand.detect.confidence import with_confidence
from s2hand.detect.hands import FoundHand
from s2hand.detect.mediapipe import HandLandmarker
from s2hand.files.cores import cores

_WORKERS = min(4, cores())


def search(
    frames: Iterable[tuple[UInt8[np.ndarray, "h w 3"], float]],
    model: Path,
    hands: int = 2,
    video: bool = False,
) -> Iterator[list[FoundHand]]:
    """The hands of each frame, in the frames' order.

    Frames are searched in one pass, with a few in memory at a time. Other threads meanwhile detect
    each hand again on changed pictures to compute its confidences (:func:`with_confidence`).

    Args:
        frames: upright RGB pictures with their presentation times in seconds.
        model: path of ``hand_landmarker.task``.
        hands: maximum number in one frame.
        video: whether the frames are consecutive frames of one video.
    """
    with ExitStack() as stack:
        find = stack.enter_context(HandLandmarker(model, hands, video=video))
        # Opened here and lent to the threads, so none is closed while a thread uses it.
        idle: SimpleQueue[HandLandmarker] = SimpleQueue()
        for _ in range(_WORKERS):
            idle.put(stack.enter_context(HandLandmarker(model, hands, pad=False)))
        pool = ThreadPoolExecutor(_WORKERS)
        stack.callback(pool.shutdown, cancel_futures=True)

        def rate(picture: UInt8[np.ndarray, "h w 3"], hand: FoundHand) -> FoundHand:
            find_again = idle.get()
            try:
                return with_confidence(picture, hand, find_again)
            finally:
                idle.put(find_again)

        waiting: deque[list[Future[FoundHand]]] = deque()
        for picture, seconds in frames:
            found = find(picture, seconds)
            waiting.append([pool.submit(rate, picture, hand) for hand in found])
            # A bounded queue keeps memory constant and the threads busy.
            if len(waiting) > 2 * _WORKERS:
                yield [future.result() for future in waiting.popleft()]
        for futures in waiting:
            yield [future.result() for future in futures]
