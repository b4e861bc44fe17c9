"""Many small files read ahead by several threads."""

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
"""Files per task of a thread: enough to make the overhead of a task negligible."""


def read_ahead(
    read: Callable[[Source], Content], sources: Sequence[Source], threads: int = THREADS
) -> Generator[Content, None, None]:
    """The result of ``read`` for each source, in order; each thread is at most two chunks ahead.

    The threads wait for the disk or the network in parallel, which is the main cost of opening
    files that are not in memory yet. Python parses in one thread at a time, so there is no gain
    where nothing has to be waited for.

    An error of ``read`` is raised at the position of its chunk. Then, and when the caller stops
    early (``close``, Ctrl-C), the remaining sources are not read.
    """
    # Small lists make small chunks, so that all threads have work.
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
