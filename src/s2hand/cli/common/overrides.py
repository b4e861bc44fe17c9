"""What a command line asks for and cannot have: refused, with what there is or how to say it."""

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
    """The names in ``loss=[...]``; of an unknown one Hydra does not say which are known."""
    chosen = [a.removeprefix("loss=") for a in arguments if a.startswith("loss=")]
    return re.findall(r"\w+", " ".join(chosen))


def check_losses(arguments: Sequence[str]) -> None:
    """Raise ValueError for a chosen loss that does not exist, naming those that do."""
    unknown = sorted(set(chosen_losses(arguments)) - set(known_losses()))
    if unknown:
        raise ValueError(f"no loss named {unknown[0]!r}; there are {', '.join(known_losses())}")


def check_quotes(arguments: Sequence[str]) -> None:
    """Raise ValueError for a ``key=value`` that Hydra cannot read, with the form that it can.

    A file may be called ``hand (1).mp4``; Hydra's grammar has a meaning for brackets and commas.
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
            # In a shell's single quotes nothing has a meaning, in double ones $ and ` do.
            typed = shlex.quote(f'{key}="{escaped}"')
            raise ValueError(
                f"{argument}: brackets and commas have a meaning in settings; a value to be taken "
                f"as it is wants quotes of its own: {typed} (several values: with -m)"
            )


def check_dataset_keys(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Raise ValueError for an added ``+dataset.key=value`` that nothing interpolates.

    The keys of ``dataset`` are names that conf/data gives to some arguments of the datasets.
    """
    added = [re.match(r"\+\+?dataset\.([\w.]+)=(.*)", text) for text in overrides]
    text = OmegaConf.to_yaml(cfg, resolve=False)
    for found in added:
        if found and not re.search(rf"\$\{{\.*dataset\.{re.escape(found[1])}\b", text):
            key, value = found[1], found[2]
            raise ValueError(
                f"dataset.{key}: nothing reads it; an argument of the datasets themselves is given "
                f"as +data.train.{key}={value} +data.test.{key}={value}"
            )


def check_dataset_arguments(cfg: DictConfig) -> None:
    """Raise ValueError for values under ``data`` that the dataset they are given to does not take.

    An experiment may set some for the data that it chooses, and ``data=...`` choose others.
    """
    content = OmegaConf.to_container(cfg.data, resolve=False) if cfg.get("data") else {}
    odd: list[str] = []
    reasons: dict[str, None] = {}
    for where, node in _partial(content, "data"):
        takes = inspect.signature(hydra.utils.get_class(node["_target_"])).parameters
        if any(argument.kind is argument.VAR_KEYWORD for argument in takes.values()):
            continue
        unknown = [key for key in node if key not in takes and not key.startswith("_")]
        odd += [f"{where}.{key}" for key in unknown]
        if unknown and node["_target_"] == _PACKED:
            reasons["a packed set is as it was packed, where such values belong"] = None
        elif unknown:
            reasons[f"{node['_target_'].rpartition('.')[2]} takes {', '.join(takes)}"] = None
    if odd:
        raise ValueError(
            f"these data take no {', '.join(odd)}, of an experiment or the command line; "
            f"{'; '.join(reasons)}. To do without append {' '.join(f'~{key}' for key in odd)}"
        )


def _partial(node: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is built later of a configuration, with its dotted key."""
    if not isinstance(node, dict):
        return
    if node.get("_partial_") and isinstance(node.get("_target_"), str):
        yield where, node
    for key, value in node.items():
        yield from _partial(value, f"{where}.{key}")


def check_names(arguments: Sequence[str], elsewhere: Mapping[str, str], command: str) -> None:
    """Raise ValueError for a ``key=value`` whose key ``command`` calls as ``elsewhere`` says."""
    for argument in arguments:
        key = argument.lstrip("+~").partition("=")[0]
        if key in elsewhere:
            raise ValueError(f"{argument}: {command} calls it {elsewhere[key]}")


def check_choices(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Raise for choices that a checkpoint has made already, and for several videos at once."""
    if "parts" in cfg.data:
        raise ValueError("data=mixed is several sets: adapt to one, or mix them in s2hand-train")
    named = [text for text in overrides if re.match(r"[+~]*(model|hand)[.=]", text)]
    if cfg.checkpoint and named:
        raise ValueError(
            f"{named[0]}: network and hand come with the checkpoint ({cfg.checkpoint}): leave it "
            "out; where the hand's file lies elsewhere now, give hand_file=FILE"
        )
