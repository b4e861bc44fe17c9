"""The examples in docstrings run, and print what they show."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import s2hand

OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
NEEDS_EXTRA = {"mediapipe", "viser", "nvdiffrast"}
"""Optional packages whose absence may keep a module from being imported."""


def examples() -> list[doctest.DocTest]:
    """Every docstring of the package with an example."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = []
    for info in pkgutil.walk_packages(s2hand.__path__, "s2hand."):
        try:
            module = importlib.import_module(info.name)
        except ModuleNotFoundError as error:
            if error.name not in NEEDS_EXTRA:
                raise
            continue
        found += [test for test in finder.find(module, info.name) if test.examples]
    return found


EXAMPLES = examples()


def test_there_are_examples() -> None:
    names = {test.name for test in EXAMPLES}
    assert {"s2hand.training.build.load", "s2hand.fitting.adaptation.adapt"} <= names
    assert not [
        test.name
        for test in EXAMPLES
        for example in test.examples
        if example.options.get(doctest.SKIP)
    ]


@pytest.mark.parametrize("test", EXAMPLES, ids=lambda test: str(test.name))
def test_an_example_prints_what_it_shows(test: doctest.DocTest) -> None:
    report: list[str] = []
    failed, tried = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=report.append)
    assert tried == len(test.examples) > 0
    assert not failed, "".join(report)
