"""Checks of the command line's overrides; messages name the alternatives or the right form."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from s2hand.loss.names import known_losses

_PACKED = "s2hand.data.shards.packed.PackedDataset"


def chosen_losses(arguments: Sequence[str]) -> list[str]:
    """The names in ``loss=[...]``."""
    chosen = [a.removeprefix("loss=") for a in arguments if a.startswith("loss=")]
    return re.findall(r"\w+", " ".join(chosen))


def check_losses(arguments: Sequence[str]) -> None:
    """Raise ValueError for an unknown loss, with the known ones, which Hydra does not list."""
    unknown = sorted(set(chosen_losses(arguments)) - set(known_losses()))
    if unknown:
        raise ValueError(f"no loss named {unknown[0]!r}; there are {', '.join(known_losses())}")


def check_quotes(arguments: Sequence[str]) -> None:
    """Raise ValueError for a ``key=value`` that Hydra cannot parse, with the quoted form.

    A file may be called ``hand (1).mp4``; brackets and commas are syntax in Hydra's grammar.
    """
    is_sweep = any(re.match(r"(-m|--multirun|hydra\.mode=.*)$", text) for text in arguments)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key.startswith("-"):
            continue
        try:
            readable = (
                is_sweep
                or not OverridesParser.create().parse_override(argument).is_sweep_override()
            )
        except HydraException:
            readable = False
        if not readable:
            escaped = value.replace('"', '\\"')
            # Single quotes: in double quotes a shell would expand $ and `.
            typed = shlex.quote(f'{key}="{escaped}"')
            raise ValueError(
                f"{argument}: brackets and commas are syntax in settings; quote a literal value, "
                f"with quotes of its own: {typed} (several values: with -m)"
            )


def check_dataset_keys(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Raise ValueError for an added ``+dataset.key=value`` that nothing reads.

    The keys of ``dataset`` are the arguments of the datasets that conf/data interpolates.
    """
    added = [re.match(r"\+\+?dataset\.([\w.]+)=(.*)", text) for text in overrides]
    text = OmegaConf.to_yaml(cfg, resolve=False)
    for found in added:
        if found and not re.search(rf"\$\{{\.*dataset\.{re.escape(found[1])}\b", text):
            key, value = found[1], found[2]
            raise ValueError(
                f"dataset.{key}: nothing reads it; give an argument of the datasets themselves "
                f"as +data.train.{key}={value} +data.test.{key}={value}"
            )


def check_dataset_arguments(cfg: DictConfig) -> None:
    """Raise ValueError for values under ``data`` that the dataset does not take.

    An experiment may set values for its own data while ``data=...`` chooses other data.
    """
    content = OmegaConf.to_container(cfg.data, resolve=False) if cfg.get("data") else {}
    unknown_keys: list[str] = []
    reasons: dict[str, None] = {}
    for where, node in _partial(content, "data"):
        takes = inspect.signature(hydra.utils.get_class(node["_target_"])).parameters
        if any(argument.kind is argument.VAR_KEYWORD for argument in takes.values()):
            continue
        unknown = [key for key in node if key not in takes and not key.startswith("_")]
        unknown_keys += [f"{where}.{key}" for key in unknown]
        if unknown and node["_target_"] == _PACKED:
            reasons["such values are set when a set is packed"] = None
        elif unknown:
            reasons[f"{node['_target_'].rpartition('.')[2]} takes {', '.join(takes)}"] = None
    if unknown_keys:
        raise ValueError(
            f"these data take no {', '.join(unknown_keys)}, of experiment or command line; "
            f"{'; '.join(reasons)}. To remove them append "
            f"{' '.join(f'~{key}' for key in unknown_keys)}"
        )


def _partial(node: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The partials of a configuration with their dotted keys."""
    if not isinstance(node, dict):
        return
    if node.get("_partial_") and isinstance(node.get("_target_"), str):
        yield where, node
    for key, value in node.items():
        yield from _partial(value, f"{where}.{key}")


def check_names(arguments: Sequence[str], elsewhere: Mapping[str, str], command: str) -> None:
    """Raise ValueError for a ``key=value`` whose key has the name ``elsewhere[key]`` here."""
    for argument in arguments:
        key = argument.lstrip("+~").partition("=")[0]
        if key in elsewhere:
            raise ValueError(f"{argument}: {command} calls it {elsewhere[key]}")


def check_choices(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Raise ValueError for choices that the checkpoint fixes, and for mixed data."""
    if "parts" in cfg.data:
        raise ValueError("data=mixed is several sets: adapt to one, or mix them in s2hand-train")
    named = [text for text in overrides if re.match(r"[+~]*(model|hand)[.=]", text)]
    if cfg.checkpoint and named:
        raise ValueError(
            f"{named[0]}: network and hand come with the checkpoint ({cfg.checkpoint}): leave it "
            "out; if the hand's file has moved, give hand_file=FILE"
        )
