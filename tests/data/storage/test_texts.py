from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2hand.data.storage.texts import Texts


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=12))
def test_it_equals_its_list(texts: list[str]) -> None:
    kept = Texts(iter(texts))
    assert list(kept) == texts
    assert kept == texts
    assert kept == tuple(texts)
    assert kept == Texts(texts)
    assert kept != [*texts, "one more"]
    assert kept[1:-1] == texts[1:-1]
    assert [kept[-1 - row] for row in range(len(texts))] == texts[::-1]
    assert pickle.loads(pickle.dumps(kept)) == texts


def test_file_names_that_are_not_utf8_survive() -> None:
    name = b"caf\xe9/0001.jpg".decode("utf-8", "surrogateescape")
    assert Texts([name])[0] == name


@pytest.mark.parametrize("index", [2, -3])
def test_beyond_the_end(index: int) -> None:
    with pytest.raises(IndexError):
        Texts(["a", "b"])[index]


def test_another_order_or_kind_is_not_equal() -> None:
    assert Texts(["a", "b"]) != ["b", "a"]
    assert Texts(["a", "b"]) != "ab"
    assert Texts(["a"]) != 1
    assert "b" in Texts(["a", "b"])
    assert repr(Texts(["a"])) == "Texts(['a'])"
