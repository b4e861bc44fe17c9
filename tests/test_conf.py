"""The configuration: every file names what exists and keys it takes, every experiment composes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import ConfigCompositionException, MissingConfigException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from fixtures.runs import compose_config
from s2hand.cli.common.overrides import chosen_losses
from s2hand.loss.names import known_losses
from s2hand.training.build import make_data, make_module

CONF = Path(__file__).parents[1] / "conf"
FILES = sorted(CONF.rglob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
GROUPS = {
    folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
    for folder in sorted(CONF.iterdir())
    if folder.is_dir() and not folder.name.startswith("_")
}
NOT_GIVEN = {"root": "x", "source": "x", "detections": "x"}
"""Values that only a person knows; given where an experiment asks for them."""
GIVEN_IN_PYTHON = {"hand", "optimizer", "total_steps", "strides", "params", "params_t"}
"""Constructor arguments that the build gives, and those that a ``_partial_`` leaves open."""


def named(value: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping with a ``_target_``, with its dotted place."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield where or "(top)", value
        for key, item in value.items():
            yield from named(item, f"{where}.{key}".strip("."))


def check_arguments(where: str, node: dict[str, Any]) -> None:
    """Raise unless the target exists and takes the keys, and misses none without a default."""
    module, _, name = str(node["_target_"]).rpartition(".")
    target = getattr(import_module(module), name)
    parameters = inspect.signature(target).parameters
    keys = {key for key in node if not key.startswith("_")}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    unknown = keys - set(parameters)
    assert takes_any or not unknown, f"{where}: {node['_target_']} takes no {sorted(unknown)}"
    needed = {
        key
        for key, p in parameters.items()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    missing = needed - keys - GIVEN_IN_PYTHON
    assert not missing, f"{where}: {node['_target_']} needs {sorted(missing)}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(CONF).as_posix())
def test_every_file_names_what_exists_and_says_what_it_is(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    assert lines[0].startswith("# "), "say in a comment what it is for"
    content = OmegaConf.to_container(OmegaConf.load(path))
    for where, node in named(content):
        if path.is_relative_to(CONF / "hydra") and not is_installed(node["_target_"]):
            pytest.skip(f"{node['_target_']} comes with an extra that is not installed")
        check_arguments(f"{path.name}: {where}", node)


def is_installed(target: str) -> bool:
    """Whether the module of a plugin is there."""
    try:
        import_module(target.rpartition(".")[0])
    except ModuleNotFoundError:
        return False
    return True


def compose_experiment(name: str, *overrides: str) -> DictConfig:
    cfg = compose_config("train", f"experiment={name}", *overrides)
    parts = cfg.data.get("parts", {}).values()
    for part in (cfg, *parts):
        for key, value in NOT_GIVEN.items():
            if "dataset" in part and OmegaConf.is_missing(part.dataset, key):
                OmegaConf.update(part.dataset, key, value)
    return cfg


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes(name: str) -> None:
    cfg = compose_experiment(name)
    content = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(content, dict)
    found = dict(named(content))
    assert {"model", "model.network", "model.hand", "model.renderer", "trainer", "data"} <= set(
        found
    )
    for where, node in found.items():
        check_arguments(f"{name}: {where}", node)
    assert cfg.paths.run.startswith("runs/")
    assert cfg.study != "default", "an experiment has a folder of its own"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_gives_its_losses_what_they_read(name: str) -> None:
    cfg = compose_experiment(name)
    losses = {term: get_class(node.fn._target_) for term, node in cfg.loss.items()}
    assert max(loss.min_frames for loss in losses.values()) <= cfg.window.frames
    if any(loss.needs_estimate for loss in losses.values()):
        assert cfg.model.network.keypoint_net != "none"
    supervised = [term for term, loss in losses.items() if loss.needs_labels]
    parts = [part.data for part in cfg.data.get("parts", {}).values()] or [cfg.data]
    assert all(bool(supervised) == bool(part.train.get("labels")) for part in parts)


def test_experiments_add_no_key_that_nothing_reads() -> None:
    known = set(compose_config("train")) | {"dataset"}
    for name in EXPERIMENTS:
        content = OmegaConf.load(CONF / "experiment" / f"{name}.yaml")
        assert set(content) - {"defaults"} <= known, name


def test_what_is_not_a_key_of_a_constructor_fails_in_an_experiment_too() -> None:
    cfg = compose_experiment("demo", "+trainer.max_stepz=3")
    node = dict(named(OmegaConf.to_container(cfg, resolve=True)))["trainer"]
    with pytest.raises(AssertionError, match=r"Trainer takes no \['max_stepz'\]"):
        check_arguments("trainer", node)


def test_each_choice_of_the_plain_groups_composes_with_the_others() -> None:
    groups = {group: GROUPS[group] for group in ("hand", "render", "window", "optim", "augment")}
    groups |= {group: GROUPS[group] for group in ("trainer", "logger", "callbacks", "model")}
    rounds = max(map(len, groups.values()))
    for i in range(rounds):
        choice = {group: names[i % len(names)] for group, names in groups.items()}
        cfg = compose_config("train", *(f"{group}={name}" for group, name in choice.items()))
        for where, node in named(OmegaConf.to_container(cfg, resolve=True)):
            check_arguments(f"{choice}: {where}", node)


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "adapt", "ablate"])
def test_every_command_composes(command: str) -> None:
    cfg = compose_config(command)
    asked = [key for key in cfg if OmegaConf.is_missing(cfg, key)]
    missing = {
        "train": [],
        "evaluate": ["checkpoint"],
        "ablate": ["checkpoint"],
        "predict": ["source"],
        "adapt": ["source", "detections"],
    }
    assert asked == missing[command]


@pytest.mark.parametrize("model", GROUPS["model"])
def test_models_build(model: str) -> None:
    cfg = compose_config("train", f"model={model}", "loss=[joint_location]")
    # The files as they are, but for weights that an extra package brings and a smaller encoder.
    cfg.model.network.encoder.update(name="mobilenetv3_small_050", weights="none")
    module = make_module(cfg)
    assert type(module.reconstructor.network).__module__ == "s2hand.model.networks"
    assert make_data(cfg, module).batch_size == cfg.data.batch_size


def test_render_and_window_and_augmentation_build() -> None:
    for group in ("render", "window", "augment"):
        for name in GROUPS[group]:
            content = OmegaConf.load(CONF / group / f"{name}.yaml")
            assert content == {} or instantiate(content, _convert_="all") is not None


def test_loggers_and_callbacks_and_trainers_build(tmp_path: Path) -> None:
    cfg = compose_config("train", "logger=csv", f"paths.runs={tmp_path}")
    made = [instantiate(part) for group in (cfg.logger, cfg.callbacks) for part in group.values()]
    assert len(made) == len(cfg.logger) + len(cfg.callbacks)
    assert instantiate(cfg.trainer).max_steps == cfg.trainer.max_steps


def test_an_unknown_key_fails_with_its_name() -> None:
    with pytest.raises(ConfigCompositionException, match="batchsize"):
        compose_config("train", "data.batchsize=3")
    with pytest.raises(ConfigCompositionException, match="colour"):
        compose_config("train", "colour=blue")


def test_an_unknown_choice_fails_with_the_known_ones() -> None:
    with pytest.raises(MissingConfigException, match=r"(?s)model/s2hans.*compact.*s2hand"):
        compose_config("train", "model=s2hans")


def test_the_known_losses_are_the_files() -> None:
    assert known_losses() == GROUPS["loss"]
    assert chosen_losses(["seed=1", "loss=[shape,nope],[ssim]"]) == ["shape", "nope", "ssim"]
    with pytest.raises(MissingConfigException, match="loss/nope"):
        compose_config("train", "loss=[shape,nope]")


def test_a_loss_is_switched_off_by_leaving_it_out() -> None:
    for name in ("demo", "smoke"):
        cfg = compose_config("train", f"experiment={name}", "loss=[joint_location]")
        assert list(cfg.loss) == ["joint_location"]


def test_a_run_folder_has_no_time_stamp() -> None:
    cfg = compose_config("train", "study=s", "name=n", "paths.runs=r")
    assert cfg.paths.run == "r/s/n"
    assert compose_config("train", "experiment=demo").paths.run == "runs/demo"
