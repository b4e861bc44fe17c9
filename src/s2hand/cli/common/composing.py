"""Composing a configuration. What Hydra refuses is told in words of our own, with what there is.

Hydra's advice is often to append the setting, which nothing would read.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatch
from importlib.resources import files
from typing import Any

import hydra
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf

from s2hand.files.errors import message

Open = Mapping[str, Collection[str]]
"""Parts of a configuration that take more than they name, as shell patterns of dotted keys: what
they take. Of a part with a ``_target_`` the arguments of that are known without."""


def composed(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """``conf/<config_name>.yaml`` with these overrides.

    Raises:
        ValueError: Hydra refuses one; as :func:`refusal` says.
    """
    try:
        return _compose(config_name, overrides)
    except ConfigCompositionException as error:
        raise ValueError(refusal(error, config_name, overrides)) from error


def refusal(
    error: BaseException, config_name: str, overrides: Sequence[str], open_parts: Open | None = None
) -> str:
    """Why Hydra could not compose: the value, what there is, and what is most like it."""
    text = str(error).partition("\nConfig search path")[0].strip()
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        near = _nearest(name, {option: option for option in error.options})
        return f"{group}={name}: no such choice{near}; there are {', '.join(error.options)}"
    unknown = re.search(r"Could not (?:override|delete(?: from config\.)?) '([^'=]+)", text)
    unknown = unknown or re.search(r"config group '(.+)' does not exist", text)
    if unknown:
        base = _choices_alone(config_name, overrides)
        return _no_setting(unknown[1], base, f"s2hand-{config_name}", open_parts or {})
    there = re.search(r"An item is already at '(.+)'", text)
    if there:
        return f"+{there[1]}: this setting is there already: leave out the +"
    if isinstance(error, ConfigCompositionException):
        return f"{text}: {error.__cause__}" if error.__cause__ else text
    return message(error)


def _compose(config_name: str, overrides: Sequence[str]) -> DictConfig:
    with initialize_config_module("s2hand.conf", version_base="1.3"):
        return compose(config_name, list(overrides))


def _choices_alone(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """What is composed of the ``group=choice`` among the overrides, as far as that goes."""
    chosen = []
    for text in overrides:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException:  # an option, such as --multirun
            continue
        if override.key_or_group in _groups() and not override.is_sweep_override():
            chosen.append(text)
    try:
        return _compose(config_name, chosen)
    except HydraException:
        return _compose(config_name, [])


def _groups() -> set[str]:
    return {part.name for part in files("s2hand.conf").iterdir() if part.is_dir()}


def _no_setting(key: str, cfg: DictConfig, command: str, open_parts: Open) -> str:
    parent = key.rpartition(".")[0]
    while not isinstance(OmegaConf.select(cfg, parent) if parent else cfg, DictConfig):
        parent = parent.rpartition(".")[0]
    prefix = f"{parent}." if parent else ""
    has = [str(name) for name in OmegaConf.select(cfg, parent)] if parent else list(map(str, cfg))
    has = [name for name in has if not name.startswith("_")]
    more = [name for name in _takes(parent, cfg, open_parts) if name not in has]
    if key in (prefix + name for name in more):
        return f"{key} has no value yet: to give it one write +{key}=..."
    siblings = {name: prefix + name for name in {*has, *(() if parent else _groups())}}
    name = key.removeprefix(prefix)
    near = (
        _nearest(name, siblings)
        or _nearest(key, {k: k for k in _keys(cfg) if not key.startswith(f"{k}.")}, 0.8)
        or _nearest(name, {name: f"+{prefix}{name}" for name in more})
    )
    listed = [*has, *(f"+{name}" for name in more)] if len(more) < 12 else has
    there = f"; {parent} has {', '.join(listed)}" if parent and listed else ""
    if not parent and not near:
        there = f"; there are {', '.join(sorted({*has, *_groups()}))}"
    return f"no such setting: {key}{near}{there}; `{command} --help` lists all there are"


def _takes(parent: str, cfg: DictConfig, open_parts: Open) -> list[str]:
    """Names that may be added to a part of the configuration."""
    for pattern, names in open_parts.items():
        if fnmatch(parent, pattern) and parent.count(".") == pattern.count("."):
            return list(names)
    target = (OmegaConf.select(cfg, parent) if parent else cfg).get("_target_")
    if not isinstance(target, str):
        return []
    arguments = inspect.signature(hydra.utils.get_object(target)).parameters.values()
    named = [a.name for a in arguments if a.kind in (a.POSITIONAL_OR_KEYWORD, a.KEYWORD_ONLY)]
    return [name for name in named if name != "hand"]  # which the build passes in


def _keys(cfg: DictConfig) -> set[str]:
    """Every dotted key, of parts too."""
    found: set[str] = set()

    def visit(node: Any, where: str) -> None:
        for name, value in node.items() if isinstance(node, dict) else ():
            found.add(f"{where}{name}")
            visit(value, f"{where}{name}.")

    visit(OmegaConf.to_container(cfg), "")
    return {key for key in found if not key.rpartition(".")[2].startswith("_")}


def _nearest(name: str, known: Mapping[str, str], cutoff: float = 0.6) -> str:
    """What stands under the name that is most like it, in words; empty if none is."""
    near = get_close_matches(name, known, n=1, cutoff=cutoff)
    return f" (nearest: {known[near[0]]})" if near else ""
