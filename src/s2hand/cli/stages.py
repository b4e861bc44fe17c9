"""A job in stages whose results stay in a folder: what is done, and whole, is not done again."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from s2hand.files import write_json

SCHEMA = "s2hand.stages/1"


class Stages:
    """Runs stages one after the other and records them in ``folder/stages.json``.

    A stage is reused if it ran before with equal inputs and every file it wrote is there,
    unchanged. Whatever stops a job (an error, Ctrl-C, a full disk), the stages before stay
    recorded, and the same job goes on after them.

    Args:
        folder: where the outputs lie; made if missing.
        console: says what runs and what is reused.
    """

    def __init__(self, folder: Path, console: Console) -> None:
        self.folder, self.console = folder, console
        self.running: str | None = None
        """The stage at work, for the message of what interrupts it."""
        self._record = self._read()

    @property
    def path(self) -> Path:
        """The record."""
        return self.folder / "stages.json"

    def run(
        self,
        name: str,
        inputs: Mapping[str, Any],
        outputs: Sequence[str],
        work: Callable[[], None],
    ) -> dict[str, str]:
        """Do ``work`` unless it is done; the SHA-256 of each of its outputs.

        Args:
            name: of the stage.
            inputs: all that its outputs depend on, as plain values; of files their hash.
            outputs: what it writes, relative to the folder.
            work: does it.

        Raises:
            RuntimeError: if the work ended well but an output is missing.
        """
        wanted = json.loads(json.dumps(inputs))
        done = self._record.pop(name, None)
        if done and done["inputs"] == wanted and self._whole(done["outputs"], outputs):
            self.console.print(f"[dim]{name}: done before, reused[/]", highlight=False)
            self._record[name] = done  # last, so that the record is in the order of the job
            return dict(done["outputs"])
        self.running = name
        begin = time.monotonic()
        work()
        for output in outputs:
            if not (self.folder / output).is_file():
                raise RuntimeError(f"the stage {name!r} left no {self.folder / output}")
        hashes = {output: file_hash(self.folder / output) for output in outputs}
        seconds = round(time.monotonic() - begin, 1)
        self._record[name] = {"inputs": wanted, "outputs": hashes, "seconds": seconds}
        write_json(self.path, {"schema": SCHEMA, "stages": self._record})
        self.running = None
        return hashes

    def seconds(self) -> dict[str, float]:
        """How long each stage took when it was done."""
        return {name: stage["seconds"] for name, stage in self._record.items()}

    def _whole(self, hashes: Mapping[str, str], outputs: Sequence[str]) -> bool:
        if set(hashes) != set(outputs):
            return False
        for output, digest in hashes.items():
            path = self.folder / output
            if not path.is_file() or file_hash(path) != digest:
                self.console.print(f"{escape(str(path))} is missing or changed: made again")
                return False
        return True

    def _read(self) -> dict[str, Any]:
        """The record of an earlier job; a damaged one counts as none, and everything runs again."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            stages = content["stages"] if content["schema"] == SCHEMA else {}
            whole = (
                isinstance(stage["inputs"], dict)
                and isinstance(stage["outputs"], dict)
                and isinstance(stage["seconds"], float | int)
                for stage in stages.values()
            )
            return dict(stages) if all(whole) else {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
