"""Atomic writing: all or nothing, and the error names the file that was asked for."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from s2hand.files.atomic import atomic_path, remove_leftovers
from s2hand.files.folders import default_root
from s2hand.files.json import write_json


def write_half(path: Path, error: BaseException) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error


def write_to_full_device(path: Path) -> None:
    with atomic_path(path) as temporary:
        os.symlink("/dev/full", temporary)
        temporary.write_bytes(b"x" * 100_000)


def test_content_takes_the_place_of_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "file.npz"
    for value in (1, 2):
        with atomic_path(path) as temporary:
            assert temporary.parent == path.parent
            assert temporary.suffix == ".npz"
            np.savez(temporary, value=value)
    assert np.load(path, allow_pickle=False)["value"] == 2
    assert os.listdir(path.parent) == ["file.npz"]


def test_new_files_get_ordinary_permissions(tmp_path: Path) -> None:
    plain, atomic = tmp_path / "plain", tmp_path / "atomic"
    plain.write_text("x")
    with atomic_path(atomic) as temporary:
        temporary.write_text("x")
    assert atomic.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(type(error)):
        write_half(path, error)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_full_disk_names_the_target(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with pytest.raises(OSError, match=r"file\.txt") as caught:
        write_half(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_really_full_device_names_the_target(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with pytest.raises(OSError, match=r"No space left.*file\.txt"):
        write_to_full_device(path)
    assert os.listdir(tmp_path) == []


def test_an_error_about_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"other\.txt"), atomic_path(tmp_path / "file.txt"):
        (tmp_path / "other.txt").read_text()


def test_a_target_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(FileExistsError, match="file"), atomic_path(tmp_path / "file" / "below.txt"):
        raise AssertionError("the block must not start")


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None], "é": "ü"}
    write_json(tmp_path / "x.json", value)
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == value


def test_json_refuses_what_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x\.json.*None"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert os.listdir(tmp_path) == []


def test_a_block_that_writes_nothing_is_an_error_about_the_target(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "file.txt"):
        pass
    assert caught.value.filename == str(tmp_path / "file.txt")


def test_default_root_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("S2HAND_CACHE", str(tmp_path))
    assert default_root() == tmp_path
    monkeypatch.setenv("S2HAND_CACHE", "")
    assert default_root().parts[-2:] == (".cache", "s2hand")


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    kept = {".hydra", ".lock", "file.ckpt", ".gitignore", ".name.with.dots", ".a.0123456z.json"}
    for name in kept:
        (tmp_path / name).touch()
    for path in (tmp_path / "file.ckpt", tmp_path / "below" / "name.json", tmp_path / "plain"):
        with atomic_path(path) as temporary:
            temporary.touch()
            os.link(temporary, tmp_path / "other")
            name = temporary
        os.rename(tmp_path / "other", name)  # as if it had not got to renaming
    remove_leftovers(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert left == kept | {"below", "below/name.json", "plain"}
    remove_leftovers(tmp_path / "nowhere")
