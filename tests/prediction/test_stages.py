"""Stages: done ones are reused while they are whole, whatever stopped the job."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from s2hand.prediction.stages import Stages, file_hash


class Job:
    """Two stages, the second made from the first; ``did`` lists what really ran."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.did = folder, list[str]()
        self.settings: dict[str, Any] = {"first": {"a": (1, 2)}, "second": {}}
        self.work: dict[str, Callable[[], None]] = {}
        self.stages: Stages | None = None
        self.said = StringIO()

    def run(self) -> dict[str, str]:
        self.did.clear()
        console = Console(file=self.said, width=300)
        self.stages = stages = Stages(self.folder, ["first", "second"], console)
        inputs = self.settings["first"]
        made = stages.run("first", "reading [a]", inputs, ["sub/a.txt"], self.stage("first"))
        inputs = self.settings["second"] | made
        return stages.run("second", "writing b", inputs, ["b.txt"], self.stage("second"))

    def stage(self, name: str) -> Callable[[], None]:
        def work() -> None:
            self.did.append(name)
            self.work.get(name, lambda: None)()
            path = self.folder / {"first": "sub/a.txt", "second": "b.txt"}[name]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{name} {self.settings[name]}")

        return work


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "out")


def test_what_is_done_is_not_done_again(job: Job) -> None:
    made = job.run()
    assert job.did == ["first", "second"]
    assert job.run() == made == {"b.txt": file_hash(job.folder / "b.txt")}
    assert job.did == []
    assert job.said.getvalue().splitlines() == [
        "1/2 first: reading [a]", "2/2 second: writing b", "1/2 first: reused", "2/2 second: reused"
    ]  # fmt: skip


def test_a_stage_is_named_before_it_runs(job: Job) -> None:
    job.work["first"] = lambda: job.said.write("at work\n") and None
    job.run()
    assert job.said.getvalue().splitlines()[:2] == ["1/2 first: reading [a]", "at work"]


def test_seconds_are_of_this_job(job: Job) -> None:
    job.run()
    assert job.stages is not None
    assert all(isinstance(spent, float) for spent in job.stages.seconds.values())
    job.settings["second"] = {"smooth": 1}
    job.run()
    first, second = job.stages.seconds["first"], job.stages.seconds["second"]
    assert first is None
    assert second is not None


def test_other_settings_run_the_stage_and_what_depends_on_its_output(job: Job) -> None:
    job.run()
    job.settings["second"] = {"smooth": 1}
    job.run()
    assert job.did == ["second"]
    job.settings["first"] = {"a": (1, 3)}
    job.run()
    assert job.did == ["first", "second"]


def test_a_stage_that_gives_the_same_again_does_not_run_the_next(job: Job) -> None:
    job.run()
    (job.folder / "sub" / "a.txt").unlink()
    job.run()
    assert job.did == ["first"]


@pytest.mark.parametrize("damage", ["shorter", "gone"])
def test_a_damaged_output_is_made_again(job: Job, damage: str) -> None:
    job.run()
    path = job.folder / "b.txt"
    path.write_text("half") if damage == "shorter" else path.unlink()
    job.run()
    assert job.did == ["second"]
    assert "b.txt is missing or changed" in job.said.getvalue()
    assert path.read_text() == "second {}"


def test_of_a_folder_every_file_counts(tmp_path: Path) -> None:
    did = []

    def work() -> None:
        did.append("meshes")
        for name in ("a.obj", "b.obj"):
            (tmp_path / "obj").mkdir(exist_ok=True)
            (tmp_path / "obj" / name).write_text(name)

    def run() -> None:
        stages = Stages(tmp_path, ["meshes"], Console(file=StringIO()))
        stages.run("meshes", "writing", {}, ["obj"], work)

    run()
    run()
    assert did == ["meshes"]
    (tmp_path / "obj" / "a.obj").unlink()
    run()
    assert did == ["meshes", "meshes"]
    shutil.rmtree(tmp_path / "obj")
    run()
    assert did == ["meshes"] * 3


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(1), OSError(errno.ENOSPC, "No space left")]
)
def test_whatever_stops_a_stage_the_ones_before_it_stay(job: Job, error: BaseException) -> None:
    def stop() -> None:
        raise error

    job.work["second"] = stop
    with pytest.raises(type(error)):
        job.run()
    assert job.stages is not None
    assert job.stages.running == "second"
    kept = f"\nkept in {job.folder}: first"
    assert job.stages.kept(False) == kept
    assert job.stages.kept(True) == f"{kept}; the same command resumes with second"
    job.work.clear()
    job.run()
    assert job.did == ["second"]


def test_nothing_is_said_to_be_kept_where_nothing_is(job: Job) -> None:
    def stop() -> None:
        raise ValueError("not a video")

    job.work["first"] = stop
    with pytest.raises(ValueError, match="not a video"):
        job.run()
    assert job.stages is not None
    assert job.stages.running == "first"
    assert job.stages.kept(True) == ""


def test_a_finished_job_was_not_stopped_in_any_stage(job: Job) -> None:
    job.run()
    assert job.stages is not None
    assert job.stages.kept(True) == ""


def test_a_stage_stopped_while_it_replaces_its_output_is_not_taken_for_done(job: Job) -> None:
    job.run()
    job.settings["second"] = {"smooth": 1}

    def stop() -> None:
        raise KeyboardInterrupt

    job.work["second"] = stop
    with pytest.raises(KeyboardInterrupt):
        job.run()
    job.work.clear()
    job.settings["second"] = {}
    job.run()
    assert job.did == []  # the old output and its record were never touched


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "null",
        '{"schema": "s2hand.stages/9"}',
        '{"schema": "s2hand.stages/1", "stages": 3}',
        '{"schema": "s2hand.stages/1", "stages": {"first": {"inputs": {}}}}',
        '{"schema": "s2hand.stages/1", "stages": {"first": 7}}',
    ],
)
def test_a_damaged_record_counts_as_none(job: Job, content: str) -> None:
    job.run()
    (job.folder / "stages.json").write_text(content)
    job.run()
    assert job.did == ["first", "second"]


def test_the_record_names_files_relative_to_the_folder(job: Job) -> None:
    job.run()
    record = json.loads((job.folder / "stages.json").read_text())
    assert list(record["stages"]["first"]["outputs"]) == ["sub/a.txt"]


def test_a_stage_without_its_output_is_an_error(tmp_path: Path) -> None:
    stages = Stages(tmp_path, ["lazy"], Console(file=StringIO()))
    with pytest.raises(RuntimeError, match=r"'lazy' left no .*made\.txt"):
        stages.run("lazy", "nothing", {}, ["made.txt"], lambda: None)
    assert stages.seconds == {}
