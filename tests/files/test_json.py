"""JSON is parsed without Python's search for cycles, which is left as it was found."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from s2hand.files import json as json_files
from s2hand.files.json import read_json


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


def test_the_collector_rests_while_json_is_parsed(tmp_path: Path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(json_files.json, "loads", lambda text: seen.append(gc.isenabled()))
    (tmp_path / "a.json").write_text("[]")
    read_json(tmp_path / "a.json")
    assert seen == [False]
    assert gc.isenabled()


@pytest.mark.parametrize("enabled", [True, False])
def test_it_is_left_as_it_was(tmp_path: Path, enabled: bool) -> None:
    (tmp_path / "a.json").write_text("[1, 2]")
    (tmp_path / "b.json").write_text("[1,")
    if not enabled:
        gc.disable()
    assert read_json(tmp_path / "a.json") == [1, 2]
    with pytest.raises(ValueError, match=r"b\.json is not valid JSON"):
        read_json(tmp_path / "b.json")
    assert gc.isenabled() == enabled
