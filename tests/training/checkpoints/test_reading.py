"""Checkpoints: nothing in them runs, none is damaged, and each refusal says why."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from s2hand.training.checkpoints.reading import (
    FORMAT,
    CheckpointError,
    DamagedCheckpointError,
    HandModelMismatchError,
    check_hand,
    check_targets,
    load_weights,
    read_checkpoint,
)

HAND = {"name": "open", "fingerprint": "0123456789abcdef"}


def content(**record: Any) -> dict[str, Any]:
    """The least that a checkpoint holds."""
    whole = {"format": FORMAT, "version": "0.1.0", "hand": HAND, "config": {}} | record
    return {"state_dict": {"weight": torch.arange(6.0)}, "s2hand": whole}


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
    with pytest.raises(DamagedCheckpointError, match=rf"^{path} is not a readable checkpoint"):
        read_checkpoint(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(place=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_a_changed_weight_is_found(tmp_path: Path, place: int, bit: int) -> None:
    path, weight = tmp_path / "last.ckpt", torch.linspace(1, 2, 999)
    torch.save(content() | {"state_dict": {"weight": weight}}, path)
    whole = bytearray(path.read_bytes())
    stored = weight.numpy().tobytes()
    whole[whole.index(stored) + place % len(stored)] ^= 1 << bit
    path.write_bytes(whole)
    with pytest.raises(DamagedCheckpointError, match=r"last\.ckpt is not a readable checkpoint"):
        read_checkpoint(path)


def test_a_damaged_or_missing_checkpoint_says_where_the_one_before_is(tmp_path: Path) -> None:
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    torch.save(content(), previous)
    with pytest.raises(FileNotFoundError, match=rf"{last}; the one before it is {previous}"):
        read_checkpoint(last)
    last.write_bytes(previous.read_bytes()[:-9])
    with pytest.raises(DamagedCheckpointError, match=rf"; the one before it is {previous}$"):
        read_checkpoint(last)
    previous.write_bytes(b"")
    with pytest.raises(DamagedCheckpointError, match=r"plain values$"):
        read_checkpoint(previous)


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
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
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


class Branched(nn.Module):
    """A trunk and a branch of two layers."""

    def __init__(self, width: int = 3, branch: bool = True) -> None:
        super().__init__()
        self.trunk = nn.Linear(2, width)
        if branch:
            self.branch = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))


def weights_of(module: nn.Module) -> dict[str, Any]:
    return {"state_dict": {name: value.clone() for name, value in module.state_dict().items()}}


def test_all_weights_are_copied() -> None:
    source, target = Branched(), Branched()
    load_weights(target, weights_of(source), "a.ckpt")
    assert all(torch.equal(v, target.state_dict()[k]) for k, v in source.state_dict().items())


def test_missing_weights_are_named_with_the_option_that_allows_them() -> None:
    source, target = Branched(branch=False), Branched()
    with pytest.raises(CheckpointError, match=r"a\.ckpt.* for branch;.*allow_missing=\[branch\]$"):
        load_weights(target, weights_of(source), "a.ckpt")
    built = target.branch[0].weight.clone()
    for allowed in (["branch"], ["branch."], ["branch.0", "branch.1.weight", "branch.1.bias"]):
        load_weights(target, weights_of(source), "a.ckpt", allowed)
    torch.testing.assert_close(target.trunk.weight, source.trunk.weight)
    torch.testing.assert_close(target.branch[0].weight, built)
    with pytest.raises(CheckpointError, match=r"allow_missing=\[branch\.0,branch\.1\]"):
        load_weights(target, weights_of(source), "a.ckpt", ["branch.0"])


@pytest.mark.parametrize("part", ["trunk", "branch.0", "bran", "anything", ""])
def test_a_part_that_is_not_missing_cannot_be_allowed(part: str) -> None:
    checkpoint = weights_of(Branched())
    del checkpoint["state_dict"]["branch.1.bias"]
    said = rf"allow_missing={part}: .*missing: branch\.1\.bias"
    with pytest.raises(CheckpointError, match=said):
        load_weights(Branched(), checkpoint, "a.ckpt", [part])
    with pytest.raises(CheckpointError, match=r"nothing is"):
        load_weights(Branched(), weights_of(Branched()), "a.ckpt", [part])


def test_weights_of_other_parts_and_sizes_are_refused_by_name() -> None:
    with pytest.raises(CheckpointError, match=r"a\.ckpt has weights for branch, which this model"):
        load_weights(Branched(branch=False), weights_of(Branched()), "a.ckpt")
    with pytest.raises(CheckpointError, match=r"2 weights.*trunk\.bias: \(4,\), here \(3,\)"):
        load_weights(Branched(), weights_of(Branched(width=4)), "a.ckpt")


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.exec",
        "subprocess.run",
        "s2hand.files.json.write_json",
        "s2hand.data.frames.dataset.logging.os.system",
        "s2hand.data.frames.dataset.Path",
        "s2hand.data.storage.cache.write_cache",
        "s2hand.training.schedule.math.sqrt",
        "s2hand.model.no_such_module.Network",
        "s2hand.training.build.load",
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
    with pytest.raises(CheckpointError, match=r"last\.ckpt: its configuration"):
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
        "s2hand.training.objective.Term",
        "s2hand.training.schedule.warmup_cosine",
        "s2hand.data.module.HandDataModule",
        "s2hand.data.synthetic.images.SyntheticHands",
        "s2hand.window.Window",
        "torch.optim.Adam",
        "torch.optim.adamw.AdamW",
    ]
    check_targets({target: {"_target_": target} for target in targets}, "last.ckpt")
