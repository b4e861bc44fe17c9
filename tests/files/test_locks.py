"""Folders and files that one process at a time works in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from s2hand.files import locks
from s2hand.files.locks import lock_folder


def test_a_folder_has_one_process_at_a_time(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from s2hand.files.locks import lock_folder\n"
        "with lock_folder(Path(sys.argv[1])) as free: print(free)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with lock_folder(tmp_path) as free:
        assert free
        with lock_folder(tmp_path) as twice:
            assert not twice
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "False"
    with lock_folder(tmp_path) as free:
        assert free


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_a_lock_leaves_nothing_and_is_that_of_the_file_that_lies_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lock_folder(tmp_path) as free:
        assert free
        assert (tmp_path / ".lock").exists()
    assert list(tmp_path.iterdir()) == []

    flock, calls = locks.fcntl.flock, []

    def after_its_holder_has_ended(descriptor: int, how: int) -> None:
        if not calls:
            (tmp_path / ".lock").unlink()
        calls.append(descriptor)
        flock(descriptor, how)

    monkeypatch.setattr(locks.fcntl, "flock", after_its_holder_has_ended)
    with lock_folder(tmp_path) as free:
        assert free
        assert len(calls) == 2
        monkeypatch.undo()
        with lock_folder(tmp_path) as twice:
            assert not twice
        assert (tmp_path / ".lock").exists()
