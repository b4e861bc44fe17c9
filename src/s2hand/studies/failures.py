"""Failed jobs of a sweep: written down in their folders, listed at the end."""

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
    """Keeps a failed job from stopping the others; names all that failed when the sweep ends.

    A launcher hands this object to every job, in whatever process it runs. A job that raises leaves
    ``failed.json`` in its folder and gives its sweeper no value. The exception itself stays here:
    its traceback would keep the job's tensors alive, and not every exception can be sent to
    another process.
    """

    def __init__(self) -> None:
        self.sweep = ""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Give this sweep a name of its own, to know its failures by."""
        self.sweep = secrets.token_hex(8)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Write down why a job of a sweep failed, and let the sweep go on."""
        if not self.sweep or job_return.status is not JobStatus.FAILED:
            return
        folder = Path(config.hydra.runtime.output_dir)
        error: BaseException = job_return._return_value  # the property would raise it
        record_failure(folder, error, self.sweep)
        job_return.return_value, job_return.status = None, JobStatus.COMPLETED

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """List the jobs that failed, and end the command with exit code 1 if there are any."""
        studies = {Path(config.hydra.sweep.dir), *Path(config.paths.runs).glob("*")}
        failed = self._failed(path for study in studies for path in study.glob("*/failed.json"))
        if not failed:
            return
        console = Console(stderr=True, soft_wrap=True, highlight=False)
        console.print(f"[bold red]{len(failed)} failed[/] (the same command tries them again):")
        for path, record in failed.items():
            console.print(f"  {escape(str(path.parent))}: {escape(str(record.get('error')))}")
        # Hydra turns exceptions of callbacks into warnings; this is none.
        sys.exit(1)

    def _failed(self, paths: Iterable[Path]) -> dict[Path, dict[str, Any]]:
        """The records of this sweep's failures."""
        records = {}
        for path in sorted(paths):
            try:
                record = read_json_object(path)
            except ValueError:  # of another sweep: this one's are whole
                continue
            if record.get("sweep") == self.sweep:
                records[path] = record
        return records


def record_failure(folder: Path, error: BaseException, sweep: str) -> None:
    """Write ``failed.json``: the error in words, its traceback, and the sweep it was in."""
    lines = traceback.format_exception(error)
    words = f"{type(error).__name__}: {message(error)}"
    record = {"error": words, "sweep": sweep, "traceback": "".join(lines)}
    write_json(folder / "failed.json", record)
    _log.error("failed: %s (%s)", words, folder / "failed.json")
