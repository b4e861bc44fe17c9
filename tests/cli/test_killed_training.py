"""``s2hand-train`` killed at random moments ends as if it had not been."""

from __future__ import annotations

import csv
import json
import multiprocessing
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from fixtures import marks
from s2hand.training.checkpoints.reading import read_checkpoint

STEPS = ["trainer.max_steps=8", "trainer.val_check_interval=4", "trainer.log_every_n_steps=1"]
COMMON = [
    *STEPS, "callbacks.checkpoint.every_n_train_steps=2", "callbacks.panels=null",
    "callbacks.progress=null", "+trainer.enable_progress_bar=false", "+trainer.deterministic=true",
    "study=killed",
]  # fmt: skip
CASES = {
    "image": ["experiment=smoke"],
    "video": [
        "experiment=video", "data.batch_size=2", "data.train.sequences=2", "data.val.sequences=1",
        "data.train.renderer.resolution=32", "render.resolution=32",
        *(f"data.{split}.image_px=64" for split in ("train", "val", "test")),
        *(f"data.{split}.frames_per_sequence=6" for split in ("train", "val", "test")),
        "model.network.encoder.name=mobilenetv3_small_050", "model.network.encoder.weights=none",
        "model.network.encoder.input_px=64",
    ],
}  # fmt: skip
KILLS = {"image": 14, "video": 6}
KINDS = ("start", "step", "validation", "writing")
CONTEXT = multiprocessing.get_context("forkserver")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Of the server that all trainings are forked from; torch is imported there once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        CONTEXT.set_forkserver_preload(["s2hand.cli.train"])
        yield


@dataclass
class Job:
    """A training in a folder of its own, which may be started again and again."""

    folder: Path
    arguments: list[str]
    kills: int = 0

    @property
    def run(self) -> Path:
        return self.folder / "killed" / "run"

    @property
    def checkpoints(self) -> Path:
        return self.run / "checkpoints"

    def start(self) -> BaseProcess:
        """The process; the marks of the one before are gone."""
        marked = self.folder / "marks"
        marked.mkdir(parents=True, exist_ok=True)
        for mark in marked.iterdir():
            mark.unlink()
        callback = f"+callbacks.marks={{_target_: fixtures.marks.Marks, folder: {marked}}}"
        arguments = [*self.arguments, *COMMON, f"paths.runs={self.folder}", callback]
        process = CONTEXT.Process(target=marks.train, args=(arguments, self.folder / "log"))
        process.start()
        return process

    def finish(self) -> None:
        process = self.start()
        process.join(120)
        assert process.exitcode == 0, (self.folder / "log").read_text()[-3000:]

    def has_begun(self, kind: str, nth: int) -> bool:
        """Whether what is to be interrupted has begun."""
        if kind == "start":
            return True
        if kind == "writing":
            return any(self.checkpoints.glob(".last.*"))
        return (self.folder / "marks" / f"{kind}.{nth}").exists()

    def kill(self, kind: str, nth: int, delay: float) -> bool:
        """Start, and kill -9 so many seconds after something began; False where it ended before."""
        process = self.start()
        while process.is_alive() and not self.has_begun(kind, nth):
            time.sleep(0.0005)
        time.sleep(delay)
        process.kill()
        process.join()
        killed = process.exitcode == -9
        self.kills += killed
        assert killed or process.exitcode == 0, (self.folder / "log").read_text()[-3000:]
        return killed

    def weights(self) -> dict[str, torch.Tensor]:
        return dict(read_checkpoint(self.checkpoints / "last.ckpt")["state_dict"])

    def report(self) -> dict[str, float]:
        content = json.loads((self.run / "train.json").read_text())
        return content["metrics"] | {"steps": content["steps"]}

    def logged(self) -> list[dict[str, str]]:
        with (self.run / "metrics.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def leftovers(self) -> list[str]:
        names = (path.name for path in self.run.rglob(".*"))
        return [name for name in names if re.search(r"\.[0-9a-f]{8}\.", name)]


def durations(job: Job) -> dict[str, float]:
    """How long each part of an uninterrupted run takes, in seconds."""
    begun = time.time()
    job.finish()
    at = {mark.name: mark.stat().st_mtime for mark in (job.folder / "marks").iterdir()}
    return {
        "start": at["step.0"] - begun,
        "step": at["step.3"] - at["step.2"],
        "validation": at["validated.0"] - at["validation.0"],
        "writing": 0.05,
    }


def assert_same(job: Job, reference: Job) -> None:
    """Weights bit for bit, metrics, log; and nothing lies about."""
    found, expected = job.weights(), reference.weights()
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    assert job.report() == reference.report()
    logged, whole = job.logged(), reference.logged()
    assert [row for row in whole if row in logged] == logged, "nothing twice, nothing else"
    assert len(logged) >= len(whole) - job.kills, "a kill may lose the row of its step"
    assert job.leftovers() == []
    assert {path.name for path in job.checkpoints.iterdir()} == {"last.ckpt", "previous.ckpt"}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_run_killed_again_and_again_ends_as_if_it_had_not_been(case: str, tmp_path: Path) -> None:
    chance = random.Random(case)
    reference = Job(tmp_path / "reference", CASES[case])
    reference.finish()  # caches the frames
    reference = Job(tmp_path / "reference again", CASES[case])
    seconds = durations(reference)
    half_written, jobs = 0, [Job(tmp_path / "0", CASES[case])]
    for index in range(KILLS[case]):
        kind = KINDS[index % len(KINDS)]
        while True:  # a run that ends before its time is followed by a new one
            job = jobs[-1]
            moment = chance.randrange(2), chance.uniform(0, seconds[kind])
            if job.kill(kind, *moment):
                break
            assert_same(job, reference)
            jobs.append(Job(tmp_path / str(len(jobs)), CASES[case]))
        half_written += any(name.startswith(".last.") for name in job.leftovers())
        for name in ("last.ckpt", "previous.ckpt"):
            path = job.checkpoints / name
            assert not path.exists() or read_checkpoint(path)["global_step"] > 0
    for job in jobs[-1:]:
        job.finish()
        assert_same(job, reference)
    assert sum(job.kills for job in jobs) == KILLS[case]
    assert half_written > 0, "none was killed while it wrote a checkpoint"
