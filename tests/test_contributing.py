"""The six tasks of CONTRIBUTING.md: their paths exist and their lists of files are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECTION = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Six tasks")[2]
TASKS = re.findall(r"^\| ([^|]+) \| `([\w.]+)` \| (\d+) \| (.+) \|$", SECTION, re.MULTILINE)
LIMITS = {
    "add a dataset": 4,
    "add a loss": 3,
    "change how a recording is fitted": 4,
    "find where checkpoints are written": 2,
    "add an export format": 4,
    "add a command": 3,
}
SEARCHED = ("src/**/*.py", "conf/**/*.yaml", "setup.cfg")
HISTORY = "src/s2hand/training/checkpoints/renamed.py"
"""Names the paths that classes had, whatever the tasks are."""


def test_there_are_six_tasks_with_their_limits() -> None:
    assert {task: int(limit) for task, _, limit, _ in TASKS} == LIMITS


@pytest.mark.parametrize(("task", "example", "limit", "files"), TASKS, ids=[t[0] for t in TASKS])
def test_a_task_needs_the_listed_files_and_no_other(
    task: str, example: str, limit: str, files: str
) -> None:
    listed = re.findall(r"`([^`]+)`", files)
    assert len(listed) <= int(limit)
    assert [path for path in listed if not (ROOT / path).is_file()] == []
    naming = {
        path.relative_to(ROOT).as_posix()
        for pattern in SEARCHED
        for path in ROOT.glob(pattern)
        if example in path.read_text(encoding="utf-8")
    }
    assert naming, f"nothing names {example}"
    assert naming - set(listed) <= {HISTORY}, f"{task}: these name {example}, too"
