"""Long loops: in a log a line now and then, nothing but what is gone through for the caller."""

from __future__ import annotations

import re

import pytest

from s2hand.files import progress as module
from s2hand.files.progress import progress


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLAIN_SECONDS", 0.0)


def test_a_log_has_lines_and_the_items_come_through(
    often: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(progress("abc", "reading [x].mp4", 3, "frame")) == ["a", "b", "c"]
    said = capsys.readouterr()
    assert said.out == ""
    assert [re.sub(r"\d+ s", "N s", line) for line in said.err.splitlines()] == [
        f"reading [x].mp4: frame {done} of 3, about N s left" for done in (1, 2)
    ]


def test_what_is_short_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(range(5), "reading", 5, "frame")) == list(range(5))
    assert capsys.readouterr().err == ""
