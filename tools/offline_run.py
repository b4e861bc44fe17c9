"""Read the files of an offline wandb run: configuration, history, media and exit code.

The ``run-<id>.wandb`` file is a log in LevelDB's format (blocks of 32 KiB; records of a checksum, a
length, a type and a protocol buffer) with a header of 7 bytes. wandb writes it but no
longer has a class to read it, so this is one; the messages are wandb's.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK = 32768
HEADER = b":W&B"


@dataclass
class OfflineRun:
    """The content of one run's file."""

    folder: Path
    """``offline-run-<time>-<id>``; media are below ``files/``."""
    id: str = ""
    project: str = ""
    group: str = ""
    job_type: str = ""
    name: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    """Values by top-level key."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One mapping per ``log`` call, with JSON values."""
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    """wandb's ``ArtifactRecord`` messages."""
    exit_code: int | None = None
    """None if the run did not end."""

    def series(self, key: str) -> list[tuple[int, Any]]:
        """(trainer's step, value) of each log of a key."""
        return [(row["trainer/global_step"], row[key]) for row in self.history if key in row]

    def file(self, entry: dict[str, Any]) -> Path:
        """The file of a logged picture, table or mesh."""
        paths = entry.get("filenames") or [entry["path"]]
        return self.folder / "files" / paths[0]


def read_run(folder: Path) -> OfflineRun:
    """The run of a folder ``offline-run-...``."""
    (path,) = folder.glob("run-*.wandb")
    run = OfflineRun(folder)
    for content in records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        _add(run, record)
    return run


def _add(run: OfflineRun, record: Any) -> None:
    kind = record.WhichOneof("record_type")
    if kind == "run":
        run.id, run.project, run.name = (
            record.run.run_id, record.run.project, record.run.display_name,
        )  # fmt: skip
        run.group, run.job_type = record.run.run_group, record.run.job_type
        run.tags = list(record.run.tags)
        run.config |= values(record.run.config.update)
    elif kind == "config":
        run.config |= values(record.config.update)
    elif kind == "history":
        run.history.append(values(record.history.item))
    elif kind == "summary":
        run.summary |= values(record.summary.update)
    elif kind == "artifact":
        run.artifacts.append(record.artifact)
    elif kind == "exit":
        run.exit_code = record.exit.exit_code


def values(items: Any) -> dict[str, Any]:
    """Keys and JSON values of a message's items; nested keys make nested mappings."""
    found: dict[str, Any] = {}
    for item in items:
        *folders, name = item.nested_key or [item.key]
        inside = found
        for folder in folders:
            inside = inside.setdefault(folder, {})
        inside[name] = json.loads(item.value_json)
    return found


def records(content: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log.

    Raises:
        ValueError: if it is not such a log.
    """
    if not content.startswith(HEADER):
        raise ValueError("not a wandb run file: it does not begin with :W&B")
    position, parts = 7, []
    while position + 7 <= len(content):
        if BLOCK - position % BLOCK < 7:  # too short for a header, so filled with zeros
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        parts.append(content[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []
