"""Files compared with what SHA256SUMS lists, where it does."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from s2hand.files.checksums import SUMS, file_stamp, read_verified


def listed(folder: Path, *paths: str) -> None:
    """Write the list as sha256sum does."""
    lines = [f"{hashlib.sha256((folder / p).read_bytes()).hexdigest()}  {p}\n" for p in paths]
    (folder / SUMS).write_text("".join(lines))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A file, and one in a folder below."""
    (tmp_path / "set" / "rgb").mkdir(parents=True)
    (tmp_path / "set" / "K.json").write_bytes(b"[1, 2]")
    (tmp_path / "set" / "rgb" / "0.jpg").write_bytes(b"picture")
    return tmp_path / "set"


def test_without_a_list_everything_is_read(tree: Path) -> None:
    assert read_verified(tree / "K.json") == b"[1, 2]"


@pytest.mark.parametrize("name", ["K.json", "rgb/0.jpg"])
def test_a_changed_file_is_refused_with_its_name_and_the_list(tree: Path, name: str) -> None:
    listed(tree, "K.json", "rgb/0.jpg")
    (tree / name).write_bytes(b"[1, 3]")
    with pytest.raises(ValueError, match="fetch it again") as error:
        read_verified(tree / name)
    assert str(tree / name) in str(error.value)
    assert str(tree / SUMS) in str(error.value)


def test_the_same_file_is_read_and_one_that_is_not_listed_too(tree: Path) -> None:
    listed(tree, "rgb/0.jpg")
    assert read_verified(tree / "rgb" / "0.jpg") == b"picture"
    (tree / "K.json").write_bytes(b"other")
    assert read_verified(tree / "K.json") == b"other"


def test_a_picture_that_its_detections_know_is_compared_without_a_list(tree: Path) -> None:
    picture = tree / "rgb" / "0.jpg"
    assert read_verified(picture, hashlib.sha256(b"picture").digest()) == b"picture"
    assert read_verified(picture, bytes(32)) == b"picture"  # one that they do not know
    with pytest.raises(ValueError, match="run the detection again") as error:
        read_verified(picture, hashlib.sha256(b"another").digest())
    assert str(picture) in str(error.value)


def test_the_nearest_list_that_knows_the_file_counts(tree: Path) -> None:
    listed(tree, "K.json", "rgb/0.jpg")
    (tree / "rgb" / "0.jpg").write_bytes(b"new picture")
    listed(tree / "rgb", "0.jpg")
    assert read_verified(tree / "rgb" / "0.jpg") == b"new picture"
    assert read_verified(tree / "K.json") == b"[1, 2]"


def test_paths_with_dots_find_the_list(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(tree, "K.json")
    (tree / "K.json").write_bytes(b"other")
    monkeypatch.chdir(tree / "rgb")
    with pytest.raises(ValueError, match=SUMS):
        read_verified(Path("..") / "K.json")


def test_what_sha256sum_writes_is_read(tree: Path) -> None:
    if not (tool := shutil.which("sha256sum")):
        pytest.skip("there is no sha256sum here")
    command = f"find . -type f ! -name {SUMS} -exec {tool} {{}} + > {SUMS}"  # as in the docs
    subprocess.run(command, shell=True, cwd=tree, check=True)
    assert read_verified(tree / "rgb" / "0.jpg") == b"picture"
    (tree / "rgb" / "0.jpg").write_bytes(b"Picture")
    with pytest.raises(ValueError, match="damaged"):
        read_verified(tree / "rgb" / "0.jpg")


def test_a_line_that_is_no_checksum_is_told_by_its_number(tree: Path) -> None:
    listed(tree, "K.json")
    (tree / SUMS).write_text((tree / SUMS).read_text() + "d41d8cd9  rgb/0.jpg\n")
    with pytest.raises(ValueError, match=r"SHA256SUMS, line 2: 'd41d8cd9"):
        read_verified(tree / "K.json")


def test_stamps_change_with_the_file_and_with_its_checksum(tree: Path) -> None:
    plain = file_stamp(tree / "K.json")
    assert plain == file_stamp(tree / "K.json")
    copy = shutil.copytree(tree, tree.parent / "copy")
    listed(copy, "K.json")
    assert file_stamp(copy / "K.json")[3] == hashlib.sha256(b"[1, 2]").hexdigest()
    assert plain[3] == ""
