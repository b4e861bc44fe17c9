"""How a run keeps checkpoints: whatever happens when, a whole one is there, and is gone on from."""

from __future__ import annotations

import errno
import io
import itertools
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from s2hand.training.checkpoints.reading import (
    CheckpointError,
    DamagedCheckpointError,
    read_checkpoint,
)
from s2hand.training.checkpoints.writing import (
    CheckpointFiles,
    UnwrittenCheckpointError,
    newest_checkpoint,
)


def content(step: int, **record: Any) -> dict[str, Any]:
    """A small checkpoint."""
    hand = {"name": "open", "fingerprint": "0123456789abcdef"}
    whole = {"format": 1, "version": "0.1.0", "hand": hand, "config": {}} | record
    return {"state_dict": {"weight": torch.rand(30_000)}, "global_step": step, "s2hand": whole}


def steps(folder: Path) -> dict[str, int]:
    """What lies in a folder, and of which step."""
    names = sorted(path.name for path in folder.iterdir())
    return {name: read_checkpoint(folder / name)["global_step"] for name in names}


def write(folder: Path, *steps: int, files: CheckpointFiles | None = None) -> CheckpointFiles:
    files = files or CheckpointFiles()
    for step in steps:
        files.save_checkpoint(content(step), folder / "last.ckpt")
    return files


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "other.ckpt"
    written = content(7)
    files = CheckpointFiles()
    for _ in range(2):
        files.save_checkpoint(written, path)
    read = files.load_checkpoint(path)
    torch.testing.assert_close(read["state_dict"], written["state_dict"], rtol=0, atol=0)
    assert read["s2hand"] == written["s2hand"]
    assert steps(path.parent) == {"other.ckpt": 7}, "only a run's last one has a previous one"


def test_the_last_two_of_a_run_are_kept(tmp_path: Path) -> None:
    files = write(tmp_path, 1)
    assert steps(tmp_path) == {"last.ckpt": 1}
    write(tmp_path, 2, 3, files=files)
    assert steps(tmp_path) == {"last.ckpt": 3, "previous.ckpt": 2}
    assert newest_checkpoint(tmp_path) == tmp_path / "last.ckpt"


def test_a_run_that_goes_on_keeps_what_it_went_on_from(tmp_path: Path) -> None:
    write(tmp_path, 1)
    files = CheckpointFiles()
    files.load_checkpoint(tmp_path / "last.ckpt")
    write(tmp_path, 2, files=files)
    assert steps(tmp_path) == {"last.ckpt": 2, "previous.ckpt": 1}


def test_a_run_that_starts_over_never_falls_back_to_the_one_before_it(tmp_path: Path) -> None:
    write(tmp_path, 8, 9)
    write(tmp_path, 1)
    assert steps(tmp_path) == {"last.ckpt": 1}


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("call", range(3))
def test_whenever_the_process_ends_a_whole_checkpoint_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """Before each call that changes names, and after the last."""
    files = write(tmp_path, 1, 2)
    calls, replace = itertools.count(), os.replace

    def stop(source: Any, target: Any) -> None:
        if next(calls) == call:
            raise Killed
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop)
    if call < 2:
        with pytest.raises(Killed):
            write(tmp_path, 3, files=files)
    else:
        write(tmp_path, 3, files=files)
    monkeypatch.undo()
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert read_checkpoint(found)["global_step"] == (2 if call < 2 else 3)
    again = CheckpointFiles()
    again.load_checkpoint(found)
    write(tmp_path, 3, 4, files=again)
    assert steps(tmp_path) == {"last.ckpt": 4, "previous.ckpt": 3}


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (order.append("flush"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append(Path(b).name), replace(a, b)))
    write(tmp_path, 1, 2)
    assert order == ["flush", "last.ckpt", "flush", "previous.ckpt", "last.ckpt"]


@pytest.mark.parametrize("damage", [cut, lambda path: path.write_bytes(b"")])
def test_a_damaged_last_one_falls_back_to_the_previous_and_is_put_aside(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, 1, 2)
    damage(tmp_path / "last.ckpt")
    broken = (tmp_path / "last.ckpt").read_bytes()
    found = newest_checkpoint(tmp_path)
    assert found == tmp_path / "previous.ckpt"
    assert "last.ckpt is damaged, now last.ckpt.damaged; going on from the one" in caplog.text
    files = CheckpointFiles()
    files.load_checkpoint(found)
    write(tmp_path, 2, files=files)
    assert (tmp_path / "last.ckpt.damaged").read_bytes() == broken
    (tmp_path / "last.ckpt.damaged").unlink()
    assert steps(tmp_path) == {"last.ckpt": 2, "previous.ckpt": 1}


def test_where_all_are_damaged_both_are_named_and_left_there(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "nowhere") is None
    write(tmp_path, 1, 2)
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    cut(last)
    cut(previous)
    with pytest.raises(DamagedCheckpointError, match=rf"{last} and {previous}.*resume=never"):
        newest_checkpoint(tmp_path)
    previous.unlink()
    with pytest.raises(DamagedCheckpointError, match=rf"^{last}: damaged.*resume=never"):
        newest_checkpoint(tmp_path)
    assert last.is_file()


def test_a_damaged_previous_one_does_not_matter(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    cut(tmp_path / "previous.ckpt")
    assert newest_checkpoint(tmp_path) == tmp_path / "last.ckpt"


def test_a_checkpoint_of_a_newer_version_is_not_taken_for_damaged(tmp_path: Path) -> None:
    write(tmp_path, 1)
    torch.save(content(2, format=99), tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match="update the package"):
        newest_checkpoint(tmp_path)
    assert (tmp_path / "last.ckpt").is_file()


def size_of(checkpoint: dict[str, Any]) -> int:
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.tell()


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_disk_that_fills_up_leaves_what_was_there(
    tmp_path: Path, share: float, before: int
) -> None:
    """The system itself refuses to write more than so many bytes into a file."""
    files = write(tmp_path, *range(before))
    expected = steps(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * size_of(content(9))), limits[1]))
    try:
        with pytest.raises(UnwrittenCheckpointError) as caught:
            write(tmp_path, 9, files=files)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG
    assert steps(tmp_path) == expected
    kept = f"is kept: {', '.join(expected)}" if expected else "there was none before it"
    assert kept in str(caught.value)


@pytest.mark.parametrize("failing", ["write", "flush"])
def test_a_full_disk_is_named_with_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """Some disks say so only when they are made to write: quotas, and those over the network."""
    files = write(tmp_path, 1, 2)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if failing == "flush":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UnwrittenCheckpointError) as caught:
        write(tmp_path, 3, files=files)
    monkeypatch.undo()
    said = str(caught.value)
    assert "No space left on device: a checkpoint of 0 MB could not be written to" in said
    assert f"{tmp_path}/last.ckpt (the disk at /" in said
    assert said.endswith("MB free); what was there is kept: last.ckpt, previous.ckpt")
    assert steps(tmp_path) == {"last.ckpt": 2, "previous.ckpt": 1}
