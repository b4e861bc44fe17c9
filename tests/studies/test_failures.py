"""Sweeps with jobs that fail, and sweeps that are interrupted."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from fixtures.runs import run_command
from s2hand.cli.train import main
from s2hand.studies.comparison import compare
from s2hand.studies.failures import FailedJobs
from s2hand.training.checkpoints.reading import read_checkpoint

QUICK = (
    "experiment=smoke", "callbacks.panels=null", "callbacks.progress=null", "logger=none",
    "trainer.max_steps=2", "trainer.val_check_interval=2", "+trainer.enable_progress_bar=false",
    "loss=[joint_location,shape]",
)  # fmt: skip


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Lightning switches Ctrl-C off when it is pressed; the tests want it back."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


def sweep(tmp_path: Path, *arguments: str) -> int:
    return run_command(main, "-m", *QUICK, f"paths.runs={tmp_path}", *arguments)


def folder(tmp_path: Path, override: str) -> Path:
    """The one job that was told so."""
    records = tmp_path.glob("smoke/*/.hydra/overrides.yaml")
    (found,) = (path for path in records if f"- {override}" in path.read_text().splitlines())
    return found.parents[1]


def test_one_of_three_jobs_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # One job at a time, since Hydra's basic sweeper gives up after a batch with a failure.
    one_by_one = "hydra.sweeper.max_batch_size=1"
    assert sweep(tmp_path, one_by_one, "loss.shape.weight=0.1,0,0.2") == 1
    failed = folder(tmp_path, "loss.shape.weight=0")
    said = capsys.readouterr().err
    assert "1 failed" in said
    assert f"{failed}: ValueError: weight=0 of ShapePrior" in said
    record = json.loads((failed / "failed.json").read_text())
    assert "weight=0 of ShapePrior" in record["error"]
    assert "Traceback" in record["traceback"]
    assert not (failed / "train.json").exists()
    for weight in ("0.1", "0.2"):
        done = folder(tmp_path, f"loss.shape.weight={weight}")
        assert read_checkpoint(done / "checkpoints" / "last.ckpt")["global_step"] == 2
        assert not (done / "failed.json").exists()
    report = compare(tmp_path / "smoke")
    weights = {dict(row.label)["loss.shape.weight"] for row in report.rows}
    assert weights == {"0.1", "0.2"}
    assert report.split == "val"
    assert "weight=0 of ShapePrior" in report.remarks()["failed"][0]


def test_an_interrupted_sweep_skips_what_is_done_and_resumes_the_rest(tmp_path: Path) -> None:
    hook = "hook: on_train_batch_start, nth: 9"
    stop = f"+callbacks.stop={{_target_: fixtures.runs.Interrupt, {hook}}}"
    # The second job is interrupted at its second step; of what is left then, there is no second.
    jobs = (stop, "callbacks.stop.nth=9,1,8")
    assert sweep(tmp_path, *jobs) == 1
    first, second = (folder(tmp_path, f"callbacks.stop.nth={nth}") for nth in (9, 1))
    assert (first / "train.json").exists()
    assert not (second / "train.json").exists()
    assert not (second / "failed.json").exists(), "stopped, not failed"
    assert read_checkpoint(second / "checkpoints" / "last.ckpt")["global_step"] == 1
    assert len(list(tmp_path.glob("smoke/*/"))) == 2, "Ctrl-C ends the sweep, not the job alone"

    (second / "failed.json").write_text("{}")  # as if it had failed before
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*.ckpt")}
    assert sweep(tmp_path, *jobs) == 0
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*.ckpt")} == before
    assert not (second / "failed.json").exists()
    for nth in (9, 1, 8):
        run = folder(tmp_path, f"callbacks.stop.nth={nth}")
        assert json.loads((run / "train.json").read_text())["steps"] == 2


def returned(error: Exception, folder: Path) -> tuple[JobReturn, FailedJobs]:
    """What a job that raised gives its sweeper."""
    callback = FailedJobs()
    callback.on_multirun_start(OmegaConf.create())
    result = JobReturn()
    result.return_value, result.status = error, JobStatus.FAILED
    config = OmegaConf.create({"hydra": {"runtime": {"output_dir": str(folder)}}})
    callback.on_job_end(config, result)
    return result, callback


def test_a_failed_job_has_no_value(tmp_path: Path) -> None:
    result, _ = returned(RuntimeError("out of memory"), tmp_path)
    assert result.status is JobStatus.COMPLETED
    assert result.return_value is None  # a number would be a result; NaN would end Optuna's search


def test_only_failures_of_this_sweep_are_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = OmegaConf.create(
        {"paths": {"runs": str(tmp_path)}, "hydra": {"sweep": {"dir": str(tmp_path / "a")}}}
    )
    returned(ValueError("then"), tmp_path / "a" / "old")
    _, callback = returned(ValueError("now"), tmp_path / "b" / "new")  # of a swept study
    (tmp_path / "a" / "damaged").mkdir()
    (tmp_path / "a" / "damaged" / "failed.json").write_text("{")
    with pytest.raises(SystemExit) as end:
        callback.on_multirun_end(config)
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert "now" in said
    assert "then" not in said
    fresh = FailedJobs()
    fresh.on_multirun_start(config)
    fresh.on_multirun_end(config)  # nothing of its own failed


@pytest.mark.slow
def test_jobs_in_parallel_processes_fail_and_finish_the_same(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="s2hand[sweep-joblib]")
    assert sweep(tmp_path, "hydra/launcher=joblib_jobs", "loss.shape.weight=0.1,0,0.2") == 1
    assert len(list(tmp_path.glob("smoke/*/train.json"))) == 2
    assert "weight=0 of" in (folder(tmp_path, "loss.shape.weight=0") / "failed.json").read_text()
