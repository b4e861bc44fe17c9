"""Many small files read by several threads, ahead of where they are needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import TypeVar

Source = TypeVar("Source")
Content = TypeVar("Content")

THREADS = 16
MAX_CHUNK = 32
"""Files that a thread reads in one go: enough that handing them over costs nothing."""


def read_ahead(
    read: Callable[[Source], Content], sources: Sequence[Source], threads: int = THREADS
) -> Generator[Content, None, None]:
    """What ``read`` makes of each source, in order; the threads are two chunks each ahead at most.

    Threads wait for the disk or the network at the same time, which is what opening files costs
    where they are not in memory yet. They parse one after the other, as Python does: where nothing
    has to be waited for, nothing is gained.

    An error of ``read`` is raised where its chunk comes in the order; then, and when the caller
    stops early (``close``, Ctrl-C), what is not begun is not read.
    """
    size = min(max(len(sources) // (4 * threads), 1), MAX_CHUNK)
    stopped = Event()
    pending: deque[Future[list[Content]]] = deque()

    def read_chunk(start: int) -> list[Content]:
        chunk = []
        for source in sources[start : start + size]:
            if stopped.is_set():
                break
            chunk.append(read(source))
        return chunk

    pool = ThreadPoolExecutor(threads, thread_name_prefix="read-ahead")
    try:
        for start in range(0, len(sources), size):
            pending.append(pool.submit(read_chunk, start))
            if len(pending) == 2 * threads:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)
