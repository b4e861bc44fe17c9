"""Class paths of earlier versions lead to the classes of today."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.utils import get_object

from s2hand.training.checkpoints.renamed import RENAMED_CLASSES, RENAMED_MODULES, current_names

OLD_TARGETS = (Path(__file__).parents[2] / "fixtures/stored_runs/targets.txt").read_text().split()
"""Every ``_target_`` of this package in ``conf/`` before the modules moved into folders."""


@pytest.mark.parametrize("old", OLD_TARGETS)
def test_every_recorded_target_is_found_today(old: str) -> None:
    new = current_names(old)
    named = get_object(new)
    assert named.__name__ == old.rpartition(".")[2]
    assert f"{named.__module__}.{named.__name__}" == new, "it is where it is defined"


def test_the_table_has_no_entry_that_nothing_recorded() -> None:
    modules = {target.rpartition(".")[0] for target in OLD_TARGETS}
    assert set(RENAMED_MODULES) <= modules
    assert set(RENAMED_CLASSES) <= set(OLD_TARGETS)


def test_other_values_stay_as_they_are() -> None:
    value = {"a": [1, None, "s2hand.loss.mesh"], "b": {"c": "torch.optim.Adam", "d": "runs/x.y"}}
    assert current_names(value) == value
