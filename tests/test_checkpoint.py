"""Checkpoint files: nothing in them runs, none is half, and each refusal says why."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s2hand.checkpoint import (
    FORMAT,
    CheckpointError,
    CheckpointFiles,
    HandModelMismatchError,
    check_hand,
    check_targets,
    read_checkpoint,
)

HAND = {"name": "open", "fingerprint": "0123456789abcdef"}


def content(**record: Any) -> dict[str, Any]:
    """The least that a checkpoint holds."""
    whole = {"format": FORMAT, "version": "0.1.0", "hand": HAND, "config": {}} | record
    return {"state_dict": {"weight": torch.arange(6.0)}, "s2hand": whole}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "last.ckpt"
    CheckpointFiles().save_checkpoint(content(), path)
    read = CheckpointFiles().load_checkpoint(path)
    torch.testing.assert_close(read["state_dict"]["weight"], torch.arange(6.0))
    assert read["s2hand"] == content()["s2hand"]


def test_a_write_that_fails_leaves_the_last_checkpoint_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    CheckpointFiles().save_checkpoint(content(version="old"), path)

    def half(value: Any, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match=r"No space left on device: '.*last\.ckpt'"):
        CheckpointFiles().save_checkpoint(content(version="new"), path)
    assert read_checkpoint(path)["s2hand"]["version"] == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_missing_file_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere/last\.ckpt.*<run>/checkpoints"):
        read_checkpoint("nowhere/last.ckpt")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(share=st.floats(0, 0.999))
def test_a_truncated_file_is_named(tmp_path: Path, share: float) -> None:
    path = tmp_path / "last.ckpt"
    torch.save(content(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=rf"^{path} is no readable checkpoint"):
        read_checkpoint(path)


class Payload:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "write", [torch.save, lambda value, p: p.write_bytes(pickle.dumps(value, 2))]
)
def test_a_pickle_that_would_run_is_refused_without_running(tmp_path: Path, write: Any) -> None:
    path, trace = tmp_path / "last.ckpt", tmp_path / "ran"
    write(content() | {"more": Payload(trace)}, path)
    with pytest.raises(CheckpointError, match="no readable checkpoint"):
        read_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "value",
    [
        {"state_dict": {}},
        [1, 2],
        torch.zeros(3),
        {"s2hand": "yes"},
        {"s2hand": {"format": 1, "hand": HAND, "config": {}}},
    ],
)
def test_another_projects_checkpoint_is_refused(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "other.ckpt"
    torch.save(value, path)
    with pytest.raises(CheckpointError, match=r"other\.ckpt was not written by s2hand-train"):
        read_checkpoint(path)


def test_a_newer_format_asks_for_an_update(tmp_path: Path) -> None:
    path = tmp_path / "new.ckpt"
    torch.save(content(format=FORMAT + 1, version="9.9"), path)
    said = rf"new\.ckpt has format {FORMAT + 1}, .* up to {FORMAT}: .* s2hand 9\.9, update"
    with pytest.raises(CheckpointError, match=said):
        read_checkpoint(path)


def test_another_hand_model_is_refused_with_both_names() -> None:
    check_hand(content(), "renamed", HAND["fingerprint"])
    with pytest.raises(HandModelMismatchError, match=r"'open' \(0123.*'MANO' \(feed\)"):
        check_hand(content(), "MANO", "feed")


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.exec",
        "subprocess.run",
        "s2hand.files.write_json",
        "s2hand.data.frames.logging.os.system",
        "s2hand.data.frames.Path",
        "s2hand.data.cache.write_cache",
        "s2hand.schedule.math.sqrt",
        "s2hand.model.no_such_module.Network",
        "s2hand.build.load",
        "s2hand",
        "torch.load",
        "torch.optim.lr_scheduler.torch.load",
        "hydra.utils.instantiate",
        "${oc.env:HOME}",
        "",
        7,
    ],
)
@pytest.mark.parametrize("nested", [lambda t: t, lambda t: {"a": [{"b": t}]}])
def test_foreign_code_is_refused_by_name(target: Any, nested: Any) -> None:
    with pytest.raises(CheckpointError, match=r"last\.ckpt: its configuration names"):
        check_targets({"model": nested({"_target_": target})}, "last.ckpt")


def test_an_interpolation_cannot_hide_a_name() -> None:
    hidden = "${oc.create:${oc.decode:'{_target_: os.system, command: touch harm}'}}"
    with pytest.raises(CheckpointError, match="interpolation"):
        check_targets({"model": {"network": hidden}}, "last.ckpt")


def test_own_parts_and_optimizers_are_allowed() -> None:
    targets = [
        "s2hand.model.reconstructor.Reconstructor",
        "s2hand.model.encoder.Encoder",
        "s2hand.hand.mano.ManoHead",
        "s2hand.render.scene.HandRenderer",
        "s2hand.loss.keypoints.JointLocation",
        "s2hand.objective.Term",
        "s2hand.schedule.warmup_cosine",
        "s2hand.data.module.HandDataModule",
        "s2hand.data.synthetic.SyntheticHands",
        "s2hand.window.Window",
        "torch.optim.Adam",
        "torch.optim.adamw.AdamW",
    ]
    check_targets({target: {"_target_": target} for target in targets}, "last.ckpt")
