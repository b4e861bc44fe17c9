"""Every loss has its YAML, every YAML its loss, and a multi-select of them composes."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

import s2hand.loss
from s2hand.loss.base import Loss
from s2hand.training.objective import Objective, Term

CONF = Path(__file__).parents[2] / "conf" / "loss"

PAPER_WEIGHTS = {
    "joint_location": 1e-3,
    "bone_orientation": 1e-1,
    "estimator_2d": 1e-3,
    "consistency_2d": 2e-4,
    "photometric": 5e-3,
    "mean_colour": 1e-3,
    "ssim": 1e-3,
    "texture": 5e-3,
    "shape": 1e-2,
    "scale": 1e-1,
    "joint_angles": 1e-1,
    "laplacian": 1e-1,
}
"""The table of S2HAND's losses, with the weights of the public code."""


def concrete_losses() -> set[type[Loss]]:
    found = set()
    for module in pkgutil.iter_modules(s2hand.loss.__path__, "s2hand.loss."):
        for _, value in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(value, Loss) and not inspect.isabstract(value):
                found.add(value)
    return found


def test_a_yaml_builds_a_term_of_its_name(term, fake_hand):
    cfg = OmegaConf.load(CONF / f"{term}.yaml")
    assert list(cfg) == [term], f"{term}.yaml must have the one key {term!r}"
    assert (CONF / f"{term}.yaml").read_text().startswith("# "), "say in a comment what it does"
    made = instantiate(cfg[term], **needs_hand(cfg[term], fake_hand))
    assert isinstance(made, Term)
    assert isinstance(made.fn, Loss)
    assert made.weight > 0


def needs_hand(cfg, hand):
    name = cfg.fn._target_.rpartition(".")
    make = getattr(importlib.import_module(name[0]), name[2])
    return {"fn": {"hand": hand}} if "hand" in inspect.signature(make).parameters else {}


def test_an_unknown_key_fails(fake_hand):
    cfg = OmegaConf.load(CONF / "scale.yaml").scale
    cfg.fn.target_mm = 28
    with pytest.raises(Exception, match="target_mm"):
        instantiate(cfg)


def test_every_loss_has_a_yaml():
    targets = {OmegaConf.load(path)[path.stem].fn._target_ for path in CONF.glob("*.yaml")}
    losses = {f"{loss.__module__}.{loss.__qualname__}" for loss in concrete_losses()}
    assert targets == losses


@pytest.mark.parametrize(("name", "weight"), PAPER_WEIGHTS.items())
def test_published_weights(name, weight):
    assert OmegaConf.load(CONF / f"{name}.yaml")[name].weight == weight


def test_the_scale_target_is_the_published_one():
    assert OmegaConf.load(CONF / "scale.yaml").scale.fn.target_m == 0.0282


def test_a_list_of_names_composes(tmp_path, fake_hand):
    names = sorted(path.stem for path in CONF.glob("*.yaml"))
    (tmp_path / "main.yaml").write_text(
        f"hydra:\n  searchpath: [file://{CONF.parent}]\ndefaults:\n"
        f"  - loss: [{', '.join(names)}]\n  - _self_\n"
    )
    with initialize_config_dir(str(tmp_path), version_base=None):
        cfg = compose("main", overrides=["loss.photometric.weight=0.25"])
    assert sorted(cfg.loss) == names
    terms = {
        name: instantiate(term, **needs_hand(term, fake_hand)) for name, term in cfg.loss.items()
    }
    assert terms["photometric"].weight == 0.25
    assert list(Objective(terms).losses) == list(cfg.loss)
