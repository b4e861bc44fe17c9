"""Checkpoints at wandb: their names, what is fetched, and what is said where that cannot be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import wandb

from s2hand.training.build import load
from s2hand.training.checkpoints import artifacts
from s2hand.training.checkpoints.artifacts import fetch, is_artifact
from s2hand.training.checkpoints.reading import CheckpointError, checkpoint_file
from s2hand.training.loggers.wandb_runs import wandb_offline

NAME = "wandb:team/hands/demo-run:v3"


class Server:
    """As much of wandb's public interface as is used, with artifacts of given files."""

    def __init__(self, **files: bytes) -> None:
        self.files = {name.replace("_ckpt", ".ckpt"): data for name, data in files.items()}
        self.asked: list[str] = []
        self.fails = False

    def artifact(self, name: str) -> Any:
        self.asked.append(name)
        if self.fails:
            raise wandb.errors.CommError("no such artifact")
        manifest = SimpleNamespace(entries=dict.fromkeys(self.files))
        return SimpleNamespace(version="v3", manifest=manifest, get_entry=self._entry)

    def _entry(self, name: str) -> Any:
        def download(root: str) -> None:
            (Path(root) / name).write_bytes(self.files[name])

        return SimpleNamespace(download=download)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("S2HAND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    fetch.cache_clear()
    yield
    fetch.cache_clear()


def serve(monkeypatch: pytest.MonkeyPatch, **files: bytes) -> Server:
    server = Server(**files)
    monkeypatch.setattr(wandb, "Api", lambda: server)
    return server


def test_a_version_is_fetched_once_and_then_needs_no_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = serve(monkeypatch, last_ckpt=b"weights")
    path = checkpoint_file(NAME)
    assert path.read_bytes() == b"weights"
    assert path.is_relative_to(tmp_path / "cache" / "wandb")
    fetch.cache_clear()
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert checkpoint_file(NAME) == path
    assert server.asked == ["team/hands/demo-run:v3"]
    assert [p.name for p in path.parent.parent.iterdir()] == ["v3"], "nothing half lies about"


def test_what_an_alias_stands_for_is_asked_once_per_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = serve(monkeypatch, last_ckpt=b"weights")
    latest = NAME.replace("v3", "latest")
    assert fetch(latest) == fetch(latest) == fetch(NAME)
    fetch.cache_clear()
    fetch(latest)
    assert server.asked == ["team/hands/demo-run:latest"] * 2


def test_the_model_of_an_artifact_loads(monkeypatch: pytest.MonkeyPatch, smoke_run: Path) -> None:
    content = (smoke_run / "checkpoints" / "last.ckpt").read_bytes()
    serve(monkeypatch, last_ckpt=content)
    found = load(NAME).state_dict()
    expected = load(smoke_run / "checkpoints" / "last.ckpt").state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_what_was_fetched_is_read_as_any_other_file(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, last_ckpt=b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load(NAME)


@pytest.mark.parametrize(
    "files",
    [{}, {"a_ckpt": b"", "b_ckpt": b""}, {"notes": b""}, {"../../evil_ckpt": b""}],
    ids=["none", "two", "other", "escaping"],
)
def test_an_artifact_that_is_no_checkpoint_is_refused(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], tmp_path: Path
) -> None:
    serve(monkeypatch, **files)
    with pytest.raises(FileNotFoundError, match=r"demo-run:v3 holds .*one checkpoint"):
        fetch(NAME)
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize(
    "name", ["wandb:demo:v3", "wandb:team/hands/demo", "wandb:../../x:v1", "wandb:a/b/c/d:v1"]
)
def test_another_form_of_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="entity/project/name:version"):
        checkpoint_file(name)


def test_what_is_said_where_nothing_can_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(monkeypatch, last_ckpt=b"")
    server.fails = True
    with pytest.raises(FileNotFoundError, match=r"v3 cannot be fetched: no such artifact"):
        fetch(NAME)
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(FileNotFoundError, match=r"wandb is offline here: set a key"):
        fetch(NAME)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(FileNotFoundError, match=r"needs wandb: pip install wandb"):
        fetch(NAME)


def test_an_interrupted_download_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = serve(monkeypatch, last_ckpt=b"weights")

    def half(name: str) -> Any:
        def download(root: str) -> None:
            (Path(root) / name).write_bytes(b"wei")
            raise OSError("connection lost")

        return SimpleNamespace(download=download)

    monkeypatch.setattr(server, "_entry", half)
    with pytest.raises(FileNotFoundError, match="connection lost"):
        fetch(NAME)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_file_is_no_name() -> None:
    assert not is_artifact("runs/demo/last.ckpt")
    assert is_artifact(NAME)
    assert checkpoint_file("x.ckpt") == Path("x.ckpt")


@pytest.mark.parametrize(
    ("mode", "key", "netrc", "server", "offline"),
    [
        (None, None, None, None, True),
        (None, "k", None, None, False),
        (None, None, "api.wandb.ai", None, False),
        (None, None, "api.wandb.ai", "https://wandb.lab.edu:8080", True),
        (None, None, "wandb.lab.edu", "https://wandb.lab.edu:8080", False),
        ("offline", "k", None, None, True),
        ("dryrun", "k", None, None, True),
        ("online", None, None, None, False),
        ("disabled", None, None, None, False),
    ],
)
def test_offline_without_a_key(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    mode: str | None,
    key: str | None,
    netrc: str | None,
    server: str | None,
    offline: bool,
) -> None:
    given = {"WANDB_MODE": mode, "WANDB_API_KEY": key, "WANDB_BASE_URL": server}
    for name, value in given.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    if netrc:
        (tmp_path / ".netrc").write_text(f"machine {netrc}\n  login user\n")
    assert wandb_offline() is offline
    assert artifacts.PREFIX == "wandb:"
