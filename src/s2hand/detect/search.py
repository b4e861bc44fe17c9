"""The hands of every frame of a recording, and how far their keypoints can be trusted."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from jaxtyping import UInt8

from s2hand.detect.confidence import confident
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

    One pass, of which a few frames at a time are in memory: hands are found one frame after the
    other, and beside it, in other threads, found again on changed pictures, which makes their
    confidences (:func:`confident`).

    Args:
        frames: upright RGB pictures, and when each is shown, in seconds.
        model: ``hand_landmarker.task``.
        hands: how many at most in one frame.
        video: whether the frames follow each other.
    """
    with ExitStack() as stack:
        find = stack.enter_context(HandLandmarker(model, hands, video=video))
        # Made here and lent to the threads, so that none is closed while one works with it.
        idle: SimpleQueue[HandLandmarker] = SimpleQueue()
        for _ in range(_WORKERS):
            idle.put(stack.enter_context(HandLandmarker(model, hands, pad=False)))
        pool = ThreadPoolExecutor(_WORKERS)
        stack.callback(pool.shutdown, cancel_futures=True)

        def judge(picture: UInt8[np.ndarray, "h w 3"], hand: FoundHand) -> FoundHand:
            find_again = idle.get()
            try:
                return confident(picture, hand, find_again)
            finally:
                idle.put(find_again)

        waiting: deque[list[Future[FoundHand]]] = deque()
        for picture, seconds in frames:
            seen = find(picture, seconds)
            waiting.append([pool.submit(judge, picture, hand) for hand in seen])
            if len(waiting) > 2 * _WORKERS:
                yield [future.result() for future in waiting.popleft()]
        for futures in waiting:
            yield [future.result() for future in futures]
