"""The processor cores that this process may use."""

from __future__ import annotations

import os


def cores() -> int:
    """Number of cores this process may use.

    In a container or a batch job it is often less than ``os.cpu_count()``.
    """
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
