"""Two processes on the CPU: they train and measure what one does, and end when one is gone."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fixtures.runs import compose_config, run_command
from s2hand.cli.evaluate import main as evaluate
from s2hand.cli.train import main as train
from s2hand.data.sampling import InOrderSampler, ShuffleSampler, local_count
from s2hand.files.errors import lost_process, message
from s2hand.training.build import make_trainer
from s2hand.training.checkpoints.reading import read_checkpoint
from s2hand.training.distributed import SyncLayers, ddp

SMALL = [
    "experiment=smoke", "loss=[joints_3d,shape,laplacian]", "+data.train.labels=true",
    "loss.joints_3d.fn.root_relative=false", "data.val.size=11", "data.test.size=11",
    "trainer.max_steps=3", "trainer.val_check_interval=3",
    "optim.optimizer._target_=torch.optim.SGD", "optim.optimizer.lr=0.02",
]  # fmt: skip
"""A short run with odd sets to measure on, and with terms that are plain means over the batch.

Not by Adam: where a gradient is 0 it makes steps of rounding errors.
"""
TWO = ["trainer=ddp_cpu", "data.batch_size=4"]
KILL = "+callbacks.kill={_target_: fixtures.runs.Interrupt, hook: on_train_batch_start, nth: 2, "


def start(module: str, *arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """A command in a process group of its own."""
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "OMP_NUM_THREADS": "1", "WANDB_SILENT": "true",
    }  # fmt: skip
    for name in ("WANDB_API_KEY", "WANDB_MODE", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE"):
        environment.pop(name, None)
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", f"s2hand.cli.{module}", *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], seconds: float = 300) -> tuple[int, str]:
    """Exit code and what was printed; nothing of its group is left running."""
    try:
        said, _ = process.communicate(timeout=seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said


def weights(path: Path) -> dict[str, Tensor]:
    return dict(read_checkpoint(path)["state_dict"])


def curve(run: Path) -> list[float]:
    with (run / "metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    folder = tmp_path_factory.mktemp("one")
    assert run_command(train, *SMALL, f"paths.run={folder}") == 0
    return folder


@pytest.fixture(scope="module")
def two(one: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with two processes, batches of half the size, and everything logged."""
    folder = tmp_path_factory.mktemp("two")
    code, said = finish(start("train", *SMALL, *TWO, f"paths.run={folder}", "logger=wandb"))
    assert code == 0, said
    return folder


def test_two_processes_learn_what_one_does(one: Path, two: Path) -> None:
    """Batch norm is on, over both processes; and the validation set has a frame left over."""
    assert curve(two) == pytest.approx(curve(one), rel=1e-4)
    assert len(curve(two)) == 3
    expected, found = weights(one / "checkpoints/last.ckpt"), weights(two / "checkpoints/last.ckpt")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5, msg=name)
    reports = [json.loads((run / "train.json").read_text())["metrics"] for run in (one, two)]
    for name, value in reports[0].items():
        assert reports[1][name] == pytest.approx(value, rel=1e-3), name


def test_one_folder_and_no_file_twice(one: Path, two: Path) -> None:
    def written(run: Path) -> set[str]:
        files = (path.relative_to(run) for path in run.rglob("*") if path.is_file())
        return {path.as_posix() for path in files if path.parts[0] != "wandb"}

    assert written(two) - written(one) <= {"train.log", "train_ddp_process_1.log"}
    assert written(one) <= written(two)
    assert len(list((two / "wandb").glob("offline-run-*"))) == 1
    with (two / "metrics.csv").open() as file:
        steps = [row["step"] for row in csv.DictReader(file) if row["train/loss"]]
    assert steps == ["0", "1", "2"]


def test_two_processes_measure_what_one_does(two: Path, tmp_path: Path) -> None:
    """Eleven frames: one process has six, the other five and a repeat that must not count."""
    checkpoint = f"checkpoint={two}/checkpoints/last.ckpt"
    assert run_command(evaluate, checkpoint, f"out={tmp_path}/one", "examples=1") == 0
    options = ["trainer=ddp_cpu", "+data.batch_size=2", "examples=1", "pred_json=true"]
    code, said = finish(start("evaluate", checkpoint, f"out={tmp_path}/two", *options))
    assert code == 0, said
    assert said.count("look at") == 1
    expected, found = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")
    )
    for column, values in expected["metrics"].items():
        assert found["metrics"][column] == pytest.approx(values, rel=1e-5), column
    for row, other in zip(expected["joints"], found["joints"], strict=True):
        assert other["pa_mm"] == pytest.approx(row["pa_mm"], rel=1e-5)
    joints, _ = json.loads((tmp_path / "two" / "pred.json").read_text())
    assert len(joints) == 11


@given(st.integers(1, 60), st.integers(1, 6))
def test_measuring_is_shared_without_overlap_and_in_step(length: int, processes: int) -> None:
    order = [list(InOrderSampler(length, processes, rank)) for rank in range(processes)]
    assert len({len(own) for own in order}) == 1
    shares = [local_count(length, processes, rank) for rank in range(processes)]
    assert max(shares) - min(shares) <= 1
    kept = [i for own, share in zip(order, shares, strict=True) for i in own[:share]]
    assert sorted(kept) == list(range(length))
    assert all(own[:share] == sorted(own[:share]) for own, share in zip(order, shares, strict=True))


@given(st.integers(8, 60), st.integers(1, 4), st.integers(1, 3), st.integers(0, 9))
def test_processes_together_draw_the_batches_of_one(
    length: int, size: int, processes: int, seen: int
) -> None:
    """Windows are samples like others: the k-th batches of all processes are one's k-th batch."""
    whole = ShuffleSampler(length, size * processes, lambda: seen)
    parts = [
        list(ShuffleSampler(length, size, lambda: seen, 0, processes, rank))
        for rank in range(processes)
    ]
    batches = min(len(part) // size for part in parts)
    order = list(whole)
    for k in range(min(batches, len(order) // (size * processes))):
        together = [i for part in parts for i in part[k * size : (k + 1) * size]]
        assert sorted(together) == sorted(order[k * size * processes : (k + 1) * size * processes])
        assert len(set(together)) == len(together)


def test_batch_norm_over_processes_keeps_the_network_as_it_is() -> None:
    network = timm.create_model("mobilenetv3_small_050", features_only=True).eval()
    kinds = [type(part) for part in network.modules()]
    names = list(network.state_dict())
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = network(image)[-1]
        SyncLayers().apply(network)
        assert [type(part) for part in network.modules()] != kinds
        torch.testing.assert_close(network(image)[-1], expected, rtol=0, atol=0)
        assert list(network.state_dict()) == names
        SyncLayers().revert(network)
    assert [type(part) for part in network.modules()] == kinds


def test_on_gpus_timm_converts_and_keeps_the_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    network = timm.create_model("mobilenetv3_small_050", features_only=True).eval()
    names = list(network.state_dict())
    image = torch.rand(2, 3, 64, 64)
    frozen = network.blocks[0][0].bn1.weight.requires_grad_(False)
    with torch.no_grad():
        expected = network(image)[-1]
        monkeypatch.setattr(dist, "is_initialized", lambda: True)
        monkeypatch.setattr(dist, "get_backend", lambda: "nccl")
        network = SyncLayers().apply(network)
        found = network(image)[-1]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    norms = [part for part in network.modules() if isinstance(part, _BatchNorm)]
    assert norms
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    assert not any(norm.training for norm in norms), "frozen statistics stay frozen"
    assert network.blocks[0][0].bn1.weight is frozen
    assert list(network.state_dict()) == names


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group of one process that is told it is one of two with the same batch."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_gather", lambda parts, own: [p.copy_(own) for p in parts])

    def add_that_of_the_other(gradient: Tensor) -> None:
        """By symmetry the other process has this gradient with the two halves exchanged."""
        gradient.add_(gradient.roll(len(gradient) // 2, 0))

    monkeypatch.setattr(dist, "all_reduce", add_that_of_the_other)
    yield
    monkeypatch.undo()
    dist.destroy_process_group()


@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm_of_two_equal_batches_is_that_of_both(group: None, momentum: float) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 3, 5, 5)
    alone = nn.BatchNorm2d(3, momentum=momentum)
    over = nn.BatchNorm2d(3, momentum=momentum)
    SyncLayers().apply(nn.Sequential(over))
    with torch.no_grad():
        for norm in (alone, over):
            norm.weight.copy_(torch.tensor([1.0, 2.0, -1.0]))
            norm.bias.copy_(torch.tensor([0.0, 1.0, 3.0]))
    own, both = x.clone().requires_grad_(), torch.cat([x, x]).requires_grad_()
    found, expected = over(own), alone(both)
    torch.testing.assert_close(found, expected[:4])
    target = torch.randn_like(x)
    (found - target).square().sum().backward()
    (expected - torch.cat([target, target])).square().sum().backward()
    torch.testing.assert_close(own.grad, both.grad[:4], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(over.running_mean, alone.running_mean)
    torch.testing.assert_close(over.running_var, alone.running_var)


def test_the_trainers_wait_as_long_as_they_are_told_and_synchronise() -> None:
    assert ddp(timeout_minutes=2)._timeout.total_seconds() == 120
    cfg = compose_config(
        "train", "trainer=ddp_cpu", "logger=none", "trainer.strategy.timeout_minutes=3"
    )
    trainer = make_trainer(cfg)
    assert trainer.world_size == 2
    assert trainer.strategy._timeout.total_seconds() == 180
    assert isinstance(trainer.strategy._layer_sync, SyncLayers)
    gpu = compose_config("train", "trainer=ddp")
    assert not gpu.trainer.get("sync_batchnorm"), "it would take timm's activations away"
    assert gpu.trainer.plugins == cfg.trainer.plugins


def test_a_lost_process_is_told_from_other_errors() -> None:
    closed = "[/pytorch/gloo/transport/tcp/pair.cc:545] Read error [::1]:84: Connection reset"
    assert "another process of this run has ended" in message(RuntimeError(closed))
    watchdog = "Watchdog caught collective operation timeout: WorkNCCL(OpType=ALLREDUCE)"
    assert "another process of this run has ended" in message(dist.DistBackendError(watchdog))
    assert not lost_process(RuntimeError("shape mismatch"))
    assert not lost_process(ValueError("gloo"))


@pytest.mark.slow
def test_a_killed_process_ends_the_job_with_a_message(tmp_path: Path) -> None:
    arguments = [*SMALL, *TWO, f"paths.run={tmp_path}", "trainer.max_steps=1000"]
    process = start("train", *arguments, KILL + "how: SIGKILL, rank: 1}")
    begun = time.monotonic()
    code, said = finish(process)
    assert code != 0
    assert "Traceback" not in said
    known = ("terminated with code -9", "another process of this run has ended")
    assert any(words in said for words in known), said
    assert time.monotonic() - begun < 200


@pytest.mark.slow
def test_a_run_whose_processes_were_killed_goes_on(one: Path, tmp_path: Path) -> None:
    arguments = [*SMALL, *TWO, f"paths.run={tmp_path}"]
    arguments.append("callbacks.checkpoint.every_n_train_steps=1")
    code, said = finish(start("train", *arguments, KILL + "how: SIGKILL}"))
    assert code != 0, said
    path = tmp_path / "checkpoints" / "last.ckpt"
    assert read_checkpoint(path)["global_step"] == 2
    code, said = finish(start("train", *arguments))
    assert code == 0, said
    assert "resuming from" in said
    assert curve(tmp_path)[-1] == pytest.approx(curve(one)[-1], rel=1e-4)
    report = json.loads((tmp_path / "train.json").read_text())
    assert report["steps"] == 3


@pytest.mark.slow
def test_torchrun_starts_the_processes(one: Path, tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    arguments = [*SMALL, *TWO, f"paths.run={tmp_path}"]
    code, said = finish(start("train", *arguments, launcher=launcher))
    assert code == 0, said
    assert curve(tmp_path) == pytest.approx(curve(one), rel=1e-4)
    assert json.loads((tmp_path / "train.json").read_text())["steps"] == 3
