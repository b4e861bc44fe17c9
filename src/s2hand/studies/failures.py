"""Failed jobs of a sweep: recorded in their folders, listed at the end."""

from __future__ import annotations

import logging
import secrets
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape

from s2hand.files.errors import message
from s2hand.files.json import read_json_object, write_json

_log = logging.getLogger(__name__)


class FailedJobs(Callback):
    """Lets a sweep continue after a failed job, and lists the failed jobs at its end.

    A launcher passes this object to every job, in any process. A job that raises gets a
    ``failed.json`` in its folder and returns no value to the sweeper. The exception is dropped: its
    traceback would keep the job's tensors alive, and not every exception can be pickled.
    """

    def __init__(self) -> None:
        self.sweep = ""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Give the sweep a random name that marks its failures."""
        self.sweep = secrets.token_hex(8)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Record the error of a failed job, and let the sweep continue."""
        if not self.sweep or job_return.status is not JobStatus.FAILED:
            return
        folder = Path(config.hydra.runtime.output_dir)
        error: BaseException = job_return._return_value  # the property would raise it
        record_failure(folder, error, self.sweep)
        job_return.return_value, job_return.status = None, JobStatus.COMPLETED

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """List the failed jobs; exit with code 1 if there are any."""
        studies = {Path(config.hydra.sweep.dir), *Path(config.paths.runs).glob("*")}
        failed = self._failed(path for study in studies for path in study.glob("*/failed.json"))
        if not failed:
            return
        console = Console(stderr=True, soft_wrap=True, highlight=False)
        console.print(f"[bold red]{len(failed)} failed[/] (the same command tries them again):")
        for path, record in failed.items():
            console.print(f"  {escape(str(path.parent))}: {escape(str(record.get('error')))}")
        # Hydra turns exceptions of callbacks into warnings, but not SystemExit.
        sys.exit(1)

    def _failed(self, paths: Iterable[Path]) -> dict[Path, dict[str, Any]]:
        """The records of this sweep's failures, by path."""
        records = {}
        for path in sorted(paths):
            try:
                record = read_json_object(path)
            except ValueError:  # another sweep's: this one's are complete
                continue
            if record.get("sweep") == self.sweep:
                records[path] = record
        return records


def record_failure(folder: Path, error: BaseException, sweep: str) -> None:
    """Write ``failed.json``: the error's message, its traceback, and the name of the sweep."""
    lines = traceback.format_exception(error)
    words = f"{type(error).__name__}: {message(error)}"
    record = {"error": words, "sweep": sweep, "traceback": "".join(lines)}
    write_json(folder / "failed.json", record)
    _log.error("failed: %s (%s)", words, folder / "failed.json")
