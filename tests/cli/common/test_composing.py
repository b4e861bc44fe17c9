"""What Hydra refuses, said in our words: the value, what there is, what is most like it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fixtures.runs import run_command
from s2hand.cli.ablate import main as ablate
from s2hand.cli.common.composing import composed
from s2hand.cli.predict import main as predict
from s2hand.cli.train import main as train

ROW = ["checkpoint=pretrained", "rows=[full]"]


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        (train, ["experiment=vidoe"], ["experiment=vidoe: no such choice (nearest: video); there "
                                       "are demo, ", "own_video"]),
        (train, ["-m", "experiment=nope,demo"], ["experiment=nope: no such choice; there are"]),
        (train, ["experimnt=demo"], ["no such setting: experimnt (nearest: experiment)"]),
        (train, ["nothing=1"], ["no such setting: nothing; there are ", "seed", "experiment"]),
        (train, ["trainer.steps=3"], ["no such setting: trainer.steps (nearest: trainer.max_steps)",
                                      "trainer has accelerator, "]),
        (train, ["trainerr.max_steps=3"], ["no such setting: trainerr (nearest: trainer)"]),
        (train, ["trainer.max_time=3"], ["write +trainer.max_time="]),
        (train, ["data.train.labels=true"], ["write +data.train.labels="]),
        (train, ["data=freihand", "data.train.varients=[0]"], ["(nearest: data.train.variants)"]),
        (train, ["~data.train.sizes"], ["'data.train.sizes' does not exist"]),
        (train, ["+seed=1"], ["'seed'", "remove + prefix: 'seed=1'"]),
        (train, ["data=freihand"], ["dataset.root is missing: give it on the command line"]),
        (train, ["data=mixed", "+data@data.parts.a=freihand", "data.weights={a: 1}"],
         ["data.parts.a.dataset.root is missing: give it on the command line"]),
        (predict, ["sorce=x"], ["no such setting: sorce (nearest: source); `s2hand-predict"]),
        (ablate, [*ROW, "ablation.full.foo=1"], ["no such setting: ablation.full.foo; ablation.full"
                                                 " has +branch_2d, +hand"]),
        (ablate, [*ROW, "ablation.full.drop=1"], ["write +ablation.full.drop="]),
        (ablate, [*ROW, "+ablation.full.foo=1"], ["ablation.full.foo: no such setting; there are "
                                                  "branch_2d, hand"]),
    ],
)  # fmt: skip
def test_it_is_one_message_with_what_there_is(
    command: Callable[[], Any],
    arguments: list[str],
    said: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(command, *arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    for text in said:
        assert text in error
    for word in ("HYDRA_FULL_ERROR", "hydra.cc", "search path", "struct", "Traceback"):
        assert word not in error


def test_a_traceback_is_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2HAND_TRACEBACK", "1")
    with pytest.raises(Exception, match="Could not find 'experiment/nope'"):
        run_command(train, "experiment=nope")


def test_what_composes_is_composed() -> None:
    assert composed("train", ["seed=3", "experiment=smoke"]).seed == 3
    with pytest.raises(ValueError, match=r"data=freihnd: no such choice \(nearest: freihand\)"):
        composed("train", ["data=freihnd"])
