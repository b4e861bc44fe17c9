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
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ModelCheckpoint

from fixtures.runs import Interrupt, fit
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
    assert "last.ckpt is damaged, renamed to last.ckpt.damaged" in caplog.text
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
    kept = f"; kept: {', '.join(expected)}" if expected else "there is no earlier checkpoint"
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
    assert said.endswith("MB free); kept: last.ckpt, previous.ckpt")
    assert steps(tmp_path) == {"last.ckpt": 2, "previous.ckpt": 1}


def test_the_configured_checkpoint_is_the_last_one(smoke: DictConfig) -> None:
    smoke.trainer.max_steps = 2
    smoke.callbacks.checkpoint.every_n_train_steps = 1
    _, trainer = fit(smoke, save=False)
    kept = trainer.checkpoint_callback
    assert isinstance(kept, ModelCheckpoint)
    files = sorted((Path(smoke.paths.run) / "checkpoints").iterdir())
    assert [file.name for file in files] == ["last.ckpt", "previous.ckpt"]
    assert Path(kept.best_model_path) == files[0].resolve()


def test_a_checkpoint_is_written_when_the_validation_of_its_step_is_done(smoke: DictConfig) -> None:
    smoke.trainer.update(max_steps=4, val_check_interval=2)
    smoke.callbacks.checkpoint.every_n_train_steps = 1
    seen: list[tuple[str, list[int]]] = []
    folder = Path(smoke.paths.run) / "checkpoints"

    class Look(pl.Callback):
        def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
            paths = sorted(folder.iterdir())
            seen.append(("before", [read_checkpoint(path)["global_step"] for path in paths]))

        def on_train_batch_start(self, *_: Any) -> None:
            for path in folder.glob("last.ckpt"):
                content = read_checkpoint(path)
                measured = sorted(k for k in content["s2hand"]["metrics"] if k.startswith("val/"))
                seen.append(("step", [content["global_step"], len(measured)]))

    fit(smoke, [Look()], save=False)
    values = seen[2][1][1]
    assert values > 3
    assert seen == [
        ("step", [1, 0]), ("before", [1]), ("step", [2, values]), ("step", [3, values]),
        ("before", [3, 2]),
    ]  # fmt: skip
    assert read_checkpoint(folder / "last.ckpt")["global_step"] == 4


def test_an_interrupted_last_validation_is_done_again(smoke: DictConfig) -> None:
    smoke.trainer.update(max_steps=2, val_check_interval=2)
    smoke.callbacks.checkpoint.every_n_train_steps = 1
    with pytest.raises(RuntimeError, match="interrupted"):
        fit(smoke, [Interrupt("on_validation_start", 0, "RuntimeError")])
    folder = Path(smoke.paths.run) / "checkpoints"
    assert read_checkpoint(folder / "last.ckpt")["global_step"] == 1
    _, trainer = fit(smoke)
    assert "val/pa_mpjpe_mm" in trainer.callback_metrics


@pytest.mark.parametrize("first", [True, False])
def test_a_full_disk_ends_the_run_with_what_was_there(
    smoke: DictConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    first: bool,
) -> None:
    """Whether it is a checkpoint that meets it first, or another file; no second attempt then."""
    smoke.trainer.max_steps = 3
    smoke.callbacks.checkpoint.every_n_train_steps = 1
    calls: list[int] = []

    def full(*_: Any) -> None:
        calls.append(1)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)

    class Other(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if not first and trainer.global_step == 2:
                raise OSError(errno.ENOSPC, "nor for this file")

    with pytest.raises(OSError, match="nor for" if not first else r"kept: last\.ckpt") as caught:
        fit(smoke, [Other()])
    assert caught.value.errno == errno.ENOSPC
    assert len(calls) == 2
    assert ("kept: last.ckpt" in caplog.text) is not first
    folder = Path(smoke.paths.run) / "checkpoints"
    assert [file.name for file in folder.iterdir()] == ["last.ckpt"]
    assert read_checkpoint(folder / "last.ckpt")["global_step"] == 1
