"""A job in stages with its results in a folder: a stage whose results are whole is not repeated."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from s2hand.files.json import write_json
from s2hand.training.checkpoints.renamed import current_names

SCHEMA = "s2hand.stages/1"


class Stages:
    """Runs stages one after the other and records them in ``folder/stages.json``.

    A stage is reused if it ran before with equal inputs and every file it wrote exists unchanged.
    Where an error, Ctrl-C or a full disk stops a job, the finished stages stay recorded, and the
    same job resumes after them.

    Args:
        folder: where the outputs are stored; made if missing.
        names: of the job's stages, in order.
        console: where running and reused stages are printed.
    """

    def __init__(self, folder: Path, names: Sequence[str], console: Console) -> None:
        self.folder, self.names, self.console = folder, list(names), console
        self.running: str | None = None
        """The stage that runs, or that was interrupted."""
        self.seconds: dict[str, float | None] = {}
        """The time each finished stage of this job took; None if it was reused."""
        self._record = self._read()

    @property
    def path(self) -> Path:
        """The record."""
        return self.folder / "stages.json"

    def run(
        self,
        name: str,
        doing: str,
        inputs: Mapping[str, Any],
        outputs: Sequence[str],
        work: Callable[[], None],
    ) -> dict[str, str]:
        """Do ``work`` unless it is done; returns the SHA-256 of each output.

        Args:
            name: of the stage.
            doing: a description to print.
            inputs: everything that the outputs depend on, as plain values; of files their hash.
            outputs: the files and folders that the stage writes, relative to the folder.
            work: writes them.

        Raises:
            RuntimeError: the work ended without an error, but an output is missing.
        """
        wanted = json.loads(json.dumps(inputs))
        title = f"[bold]{self.names.index(name) + 1}/{len(self.names)} {name}:[/]"
        done = self._record.pop(name, None)
        if done and done["inputs"] == wanted and self._whole(done["outputs"], outputs):
            self.console.print(f"{title} reused")
            self._record[name] = done  # last, so that the record is in the order of the job
            self.seconds[name] = None
            return dict(done["outputs"])
        self.console.print(f"{title} {escape(doing)}")
        self.running = name
        begin = time.monotonic()
        work()
        for output in outputs:
            if not (self.folder / output).exists():
                raise RuntimeError(f"the stage {name!r} left no {self.folder / output}")
        hashes = {output: content_hash(self.folder / output) for output in outputs}
        seconds = round(time.monotonic() - begin, 1)
        self._record[name] = {"inputs": wanted, "outputs": hashes, "seconds": seconds}
        write_json(self.path, {"schema": SCHEMA, "stages": self._record})
        self.running, self.seconds[name] = None, seconds
        return hashes

    def kept(self, goes_on: bool) -> str:
        """A line for the message that a stage was stopped; empty if no stage was finished.

        It begins with a line break. ``goes_on``: add that the same command resumes from there.
        """
        if self.running is None or not self.seconds:
            return ""
        kept = f"\nkept in {self.folder}: {', '.join(self.seconds)}"
        return f"{kept}; the same command resumes with {self.running}" if goes_on else kept

    def unchanged(self) -> list[str]:
        """The recorded files that are still as their stage wrote them."""
        outputs = {k: v for stage in self._record.values() for k, v in stage["outputs"].items()}
        found = {name: self.folder / name for name in outputs}
        kept = {n: p for n, p in found.items() if p.exists() and content_hash(p) == outputs[n]}
        files = [[path] if path.is_file() else path.rglob("*") for path in kept.values()]
        return [p.relative_to(self.folder).as_posix() for one in files for p in one if p.is_file()]

    def _whole(self, hashes: Mapping[str, str], outputs: Sequence[str]) -> bool:
        if set(hashes) != set(outputs):
            return False
        for output, digest in hashes.items():
            path = self.folder / output
            if not path.exists() or content_hash(path) != digest:
                self.console.print(f"{escape(str(path))} is missing or changed: made again")
                return False
        return True

    def _read(self) -> dict[str, Any]:
        """The record of an earlier job; with a damaged one every stage runs again."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            stages = current_names(content["stages"]) if content["schema"] == SCHEMA else {}
            whole = (
                isinstance(stage["inputs"], dict)
                and isinstance(stage["outputs"], dict)
                and isinstance(stage["seconds"], float | int)
                for stage in stages.values()
            )
            return dict(stages) if all(whole) else {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}


def content_hash(path: Path) -> str:
    """SHA-256 of a file; of a folder, of the names and sizes of the files in it."""
    if path.is_file():
        return file_hash(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listing = [[file.relative_to(path).as_posix(), file.stat().st_size] for file in files]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
