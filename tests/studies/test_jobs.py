"""Folders of a sweep's jobs, and presets with and without their plugins."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hypothesis import given, settings
from hypothesis import strategies as st

import s2hand.cli.common.app  # noqa: F401  (registers the resolvers)
from fixtures.runs import run_command
from s2hand.cli.train import main
from s2hand.studies import jobs as sweep
from s2hand.studies.jobs import LONGEST_NAME, job_folder, missing_plugin

CONF = Path(__file__).parents[2] / "conf" / "hydra"
PRESETS = sorted(
    f"hydra/{kind}={path.stem}"
    for kind in ("launcher", "sweeper")
    for path in (CONF / kind).glob("*.yaml")
)

values = st.one_of(
    st.integers(-9, 9).map(str), st.text(max_size=6), st.sampled_from(["[a,b]", "'x y'", "a/b"])
)
job = st.dictionaries(st.sampled_from(["seed", "loss", "a.b.c.weight", "a.b.d.weight"]), values)


@settings(max_examples=40)
@given(job, job)
def test_two_jobs_never_share_a_folder(one: dict[str, str], other: dict[str, str]) -> None:
    first, second = (job_folder([f"{k}={v}" for k, v in j.items()], "s") for j in (one, other))
    assert (first == second) == (one == other)


@settings(max_examples=40)
@given(st.lists(st.text(), max_size=30))
def test_any_override_makes_a_name_that_every_file_system_takes(overrides: list[str]) -> None:
    name = job_folder(overrides, "s")
    assert 0 < len(name.encode()) <= LONGEST_NAME
    assert not set(name) - set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.,=+~-"
    )


def test_a_plain_job_is_named_by_its_overrides_in_one_order() -> None:
    expected = "loss.shape.weight=0.1,seed=0"
    assert job_folder(["seed=0", "loss.shape.weight=0.1"], "s") == expected
    assert job_folder(["loss.shape.weight=0.1", "seed=0"], "s") == expected
    assert job_folder([], "s") == "default"


def test_what_the_folder_above_says_is_left_out() -> None:
    said = ["study=demo", "paths.runs=/data/runs", "experiment=demo", "resume=never"]
    assert job_folder([*said, "seed=1"], "demo") == "seed=1"
    # Two experiments of one study are two jobs, and so are two names.
    assert job_folder(["experiment=freihand_e2e"], "freihand") == "experiment=freihand_e2e"
    assert job_folder(["name=a"], "s") != job_folder(["name=b"], "s")


def test_a_long_name_keeps_the_last_parts_of_keys() -> None:
    overrides = [f"model.network.encoder.{letter}.weight=0.5" for letter in "abcdefgh"]
    name = job_folder(overrides, "s")
    assert name.startswith("a.weight=0.5,b.weight=0.5,")
    assert "h.weight=0.5-" in name


@pytest.mark.parametrize(
    ("launcher", "sweeper"),
    [("joblib_jobs", "optuna_search"), ("slurm_jobs", "optuna_losses"), ("ray_jobs", "basic")],
)
def test_presets_compose_without_their_plugins(launcher: str, sweeper: str) -> None:
    choices = [f"hydra/launcher={launcher}", f"hydra/sweeper={sweeper}"]
    with initialize_config_module("s2hand.conf", version_base="1.3"):
        hydra = compose("train", ["experiment=smoke", *choices], return_hydra_config=True).hydra
        if sweeper == "optuna_losses":  # the weights that it searches are there
            compose("train", [f"{key}=0.01" for key in hydra.sweeper.params])
    assert hydra.launcher._target_.startswith("hydra_plugins.")
    if sweeper != "basic":
        assert (hydra.sweeper.direction, hydra.sweeper.study_name) == ("minimize", "smoke")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_missing_plugin_is_named_with_its_extra(
    preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "_installed", lambda module: False)
    said = missing_plugin(["seed=0", preset])
    assert said is not None
    assert said.startswith(preset)
    extra = said.partition("s2hand[")[2].partition("]")[0]
    assert f"\n{extra} =\n" in (CONF.parents[1] / "setup.cfg").read_text()
    monkeypatch.setattr(sweep, "_installed", lambda module: True)
    assert missing_plugin([preset]) is None


def test_a_missing_plugin_ends_the_command_with_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sweep, "_installed", lambda module: False)
    assert run_command(main, "-m", "hydra/launcher=joblib_jobs", "seed=0,1") == 1
    assert "pip install 's2hand[sweep-joblib]'" in capsys.readouterr().err


def test_hydras_own_choices_need_no_plugin() -> None:
    assert missing_plugin(["hydra/launcher=basic", "hydra/sweeper=basic", "data=synthetic"]) is None
    assert not sweep._installed("hydra_plugins.no_such_launcher")
