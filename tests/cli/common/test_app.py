"""What all Hydra commands share: values that Hydra's grammar takes for something else."""

from __future__ import annotations

import subprocess

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from fixtures.runs import run_command
from s2hand.cli.common.overrides import check_quotes
from s2hand.cli.predict import main


@pytest.mark.parametrize(
    "name",
    [
        "hand(1).mp4",
        "a,b.mp4",
        "[hand].mp4",
        "{x}.mp4",
        "it's.mp4",
        "a$HOME (1).mp4",
        'say "x", y',
        "`id`,x",
    ],
)
def test_a_name_that_hydra_cannot_read_is_told_in_its_quoted_form(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(main, f"source={name}") == 1
    said = " ".join(capsys.readouterr().err.split())
    form = said.partition("of its own: ")[2].partition(" (several")[0]
    typed = subprocess.run(["sh", "-c", f"printf %s {form}"], capture_output=True, text=True)
    assert OverridesParser.create().parse_override(typed.stdout).value() == name


@pytest.mark.parametrize(
    "argument",
    ["source='hand (1).mp4'", "source=hand 1.mp4", "formats=[json,glb]", "~data.val", "+x=1", "-m",
     "model.network.encoder={name: a, weights: none}", "--config-dir=a,b", "loss=[shape,scale]"],
)  # fmt: skip
def test_what_hydra_reads_is_let_through(argument: str) -> None:
    check_quotes([argument])


def test_several_values_are_a_sweep() -> None:
    check_quotes(["-m", "seed=0,1"])
    check_quotes(["hydra.mode=MULTIRUN", "seed=0,1"])
    with pytest.raises(ValueError, match="several values: with -m"):
        check_quotes(["seed=0,1"])
