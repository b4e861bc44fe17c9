"""Composing a configuration, and one-line messages for what Hydra refuses.

Hydra's advice for an unknown setting is to append it, even where nothing would read it.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatch
from importlib.resources import files

import hydra
from hydra import compose, initialize_config_module
from hydra.errors import ConfigCompositionException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from s2hand.files.errors import message

Open = Mapping[str, Collection[str]]
"""Names that may be added to parts of a configuration, by shell patterns of the parts' dotted keys.
For a part with a ``_target_`` they are the target's arguments and need no entry."""


def composed(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """``conf/<config_name>.yaml`` with these overrides.

    Raises:
        ValueError: Hydra refuses an override; the message is that of :func:`refusal`.
    """
    try:
        with initialize_config_module("s2hand.conf", version_base="1.3"):
            return compose(config_name, list(overrides))
    except ConfigCompositionException as error:
        raise ValueError(refusal(error, config_name)) from error


def refusal(error: BaseException, config_name: str, open_parts: Open | None = None) -> str:
    """The setting or choice that Hydra refuses, what there is, and the nearest name.

    Read from the attributes of the errors; Hydra's own text is shown where they hold nothing.
    """
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        options = error.options or []
        there = f"; there are {', '.join(options)}" if options else ""
        return f"{group}={name}: no such choice{_nearest(name, options)}{there}"
    cause = error.__cause__
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key:
        return _no_setting(cause, f"s2hand-{config_name}", open_parts or {})
    if isinstance(error, ConfigCompositionException):
        return " ".join(f"{error}{f': {cause}' if cause else ''}".split())
    return message(error)


def _no_setting(
    error: ConfigAttributeError | ConfigKeyError, command: str, open_parts: Open
) -> str:
    parent, _, name = str(error.full_key).rpartition(".")
    part = error.parent_node if isinstance(error.parent_node, DictConfig) else {}
    prefix = f"{parent}." if parent else ""
    has = [str(key) for key in part if not str(key).startswith("_")]
    if not parent:
        has = sorted({*has, *_groups()})
    more = [key for key in _takes(part, parent, open_parts) if key not in has]
    if name in more:
        return f"{error.full_key} has no value yet: to give it one write +{error.full_key}=..."
    near = _nearest(name, has, prefix) or _nearest(name, more, f"+{prefix}")
    listed = [*has, *(f"+{key}" for key in more)] if len(more) < 12 else has
    there = f"{parent} has" if parent else "there are"
    there = f"; {there} {', '.join(listed)}" if listed and (parent or not near) else ""
    return f"no such setting: {error.full_key}{near}{there}; `{command} --help` lists all there are"


def _groups() -> set[str]:
    return {part.name for part in files("s2hand.conf").iterdir() if part.is_dir()}


def _takes(part: Mapping[str, object], where: str, open_parts: Open) -> list[str]:
    """Names that may be added to a part of the configuration."""
    for pattern, names in open_parts.items():
        if fnmatch(where, pattern) and where.count(".") == pattern.count("."):
            return list(names)
    target = part.get("_target_")
    if not isinstance(target, str):
        return []
    arguments = inspect.signature(hydra.utils.get_object(target)).parameters.values()
    named = [a.name for a in arguments if a.kind in (a.POSITIONAL_OR_KEYWORD, a.KEYWORD_ONLY)]
    return [name for name in named if name != "hand"]  # the build passes it


def _nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """The known name that is most like ``name``, in brackets; empty if none is."""
    near = get_close_matches(name, list(known), n=1)
    return f" (nearest: {prefix}{near[0]})" if near else ""
