"""Reading checkpoints: tensors and plain values, without executing anything in the file."""

from __future__ import annotations

import importlib
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import nn

from s2hand.pretrained import PRETRAINED, shipped_checkpoint
from s2hand.training.checkpoints.artifacts import fetch, is_artifact
from s2hand.training.checkpoints.renamed import current_names

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
"""File names of a run's newest checkpoint and the one before it."""
FORMAT = 1
"""Raised when older versions cannot read new checkpoints."""
_RECORD = {"format", "version", "hand", "config"}
_TRUSTED = (
    "s2hand.model.", "s2hand.hand.mano.", "s2hand.render.", "s2hand.loss.",
    "s2hand.training.objective.", "s2hand.training.schedule.", "s2hand.data.", "s2hand.window.",
    "torch.optim.",
)  # fmt: skip
"""Modules whose classes a checkpoint's configuration may name."""


class CheckpointError(RuntimeError):
    """A file is not a checkpoint of this package, or cannot be used here."""


class DamagedCheckpointError(CheckpointError):
    """A file is truncated or changed, or was never a checkpoint."""


class HandModelMismatchError(CheckpointError):
    """A checkpoint was trained on a different hand model from the one in use."""


def checkpoint_file(path: str | Path) -> Path:
    """The file of a checkpoint: ``path`` itself, or the file that a name refers to.

    ``pretrained`` ships with the package; its card, ``open_hand.md``, describes its training and
    accuracy. ``wandb:entity/project/name:version`` is downloaded
    (:func:`s2hand.training.checkpoints.artifacts.fetch`).
    """
    if is_artifact(path):
        return fetch(str(path))
    if str(path) != PRETRAINED:
        return Path(path)
    return shipped_checkpoint()


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, without executing anything in it.

    Args:
        path: a file, or a name (:func:`checkpoint_file`).

    Raises:
        FileNotFoundError: the file does not exist, or cannot be fetched from wandb.
        OSError: the file cannot be read.
        DamagedCheckpointError: the content cannot be read, or a checksum does not match.
        CheckpointError: not a checkpoint of this package, or of a newer format.
    """
    name, path = path, checkpoint_file(path)
    previous = path.with_name(PREVIOUS)
    other = f"; the one before it is {previous}" if path != previous and previous.is_file() else ""
    if not path.is_file():
        raise FileNotFoundError(
            f"no checkpoint {path}{other or '; s2hand-train leaves them in <run>/checkpoints/'}"
        )
    try:
        checkpoint = _load(path)
    except OSError:
        raise
    except Exception as error:  # torch's message advises unpickling the file
        if is_artifact(name):
            other = "; delete it to fetch it again"
        raise DamagedCheckpointError(
            f"{path} is not a readable checkpoint: it is damaged, or holds more than tensors and "
            f"plain values{other}"
        ) from error
    record = checkpoint.get("s2hand") if isinstance(checkpoint, dict) else None
    if not isinstance(record, dict) or not _RECORD.issubset(record):
        raise CheckpointError(f"{path} was not written by s2hand-train: it has no 's2hand' record")
    if record["format"] > FORMAT:
        raise CheckpointError(
            f"{path} has format {record['format']}, this version reads up to {FORMAT}: "
            f"it was written by s2hand {record['version']}, update the package"
        )
    record["config"] = current_names(record["config"])
    return checkpoint


def _load(path: Path) -> Any:
    """Read a file written by ``torch.save``, after the checksums, which torch does not verify."""
    with path.open("rb") as file:
        with zipfile.ZipFile(file) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise ValueError(f"the checksum of {broken} does not match")
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)


def check_hand(checkpoint: dict[str, Any], name: str, fingerprint: str) -> None:
    """Raise unless the checkpoint was trained on this hand: betas and PCA codes do not transfer.

    Raises:
        HandModelMismatchError: names both hands and their fingerprints.
    """
    trained = checkpoint.get("s2hand", {}).get("hand", {})
    if trained.get("fingerprint") != fingerprint:
        raise HandModelMismatchError(
            f"the checkpoint was trained on hand model {trained.get('name')!r} "
            f"({trained.get('fingerprint')}), this run uses {name!r} ({fingerprint}); shape and "
            "pose codes do not carry over: choose the same file (hand=open, or hand=mano "
            "hand.model=PATH)"
        )


def load_weights(
    module: nn.Module,
    checkpoint: dict[str, Any],
    path: str | Path,
    allow_missing: Sequence[str] = (),
) -> None:
    """Copy all weights of a checkpoint into a module with the same parts.

    Args:
        module: changed in place.
        checkpoint: read from ``path`` by :func:`read_checkpoint`.
        path: the checkpoint's file, for error messages.
        allow_missing: dotted names of parts of the module that the checkpoint may lack, such as
            ``reconstructor.network.keypoints``; they keep their weights.

    Raises:
        CheckpointError: weights are missing, left over, or of another size (with their names); or
            a part in ``allow_missing`` is not missing.
    """
    wanted, found = module.state_dict(), checkpoint["state_dict"]
    missing, unexpected = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    sizes = {
        k: (tuple(found[k].shape), tuple(wanted[k].shape)) for k in wanted.keys() & found.keys()
    }
    other = sorted(name for name, (there, here) in sizes.items() if there != here)
    # Every allowed part must lack something: a misspelt name would otherwise allow nothing.
    allowed = {part: _below(part, missing) for part in allow_missing}
    for part, named in allowed.items():
        if not named:
            lacking = (
                f"missing: {_listed(_parts(missing, wanted))}" if missing else "nothing is missing"
            )
            raise CheckpointError(
                f"allow_missing={part}: this part is not missing in {path}; {lacking}"
            )
    missing = missing.difference(*allowed.values())
    if missing:
        parts = _parts(missing, wanted)
        raise CheckpointError(
            f"{path} has no weights for {_listed(parts)}; to keep their initial weights: "
            f"allow_missing=[{','.join([*allow_missing, *parts])}]"
        )
    if unexpected:
        raise CheckpointError(
            f"{path} has weights for {_listed(_parts(unexpected, found))}, which this model does "
            "not have: build the network that was trained (model=..., model.network....)"
        )
    if other:
        there, here = sizes[other[0]]
        raise CheckpointError(
            f"{path}: {len(other)} weights differ in size from this model's, first "
            f"{other[0]}: {there}, here {here}; build the network that was trained"
        )
    module.load_state_dict(found, strict=not allow_missing)


def _below(part: str, names: Iterable[str]) -> set[str]:
    """The names of a part and of everything inside it."""
    inner = f"{part.rstrip('.')}."
    return {name for name in names if f"{name}.".startswith(inner)}


def _parts(names: Iterable[str], of: Iterable[str]) -> list[str]:
    """The fewest parts that hold all ``names`` and no other names ``of`` all."""
    chosen, every = set(names), set(of)
    parts: list[str] = []
    while chosen:
        words = min(chosen).split(".")
        prefixes = (".".join(words[: count + 1]) for count in range(len(words)))
        part = next(prefix for prefix in prefixes if _below(prefix, every) <= set(names))
        parts.append(part)
        chosen -= _below(part, chosen)
    return parts


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def check_targets(config: Any, path: str | Path) -> None:
    """Raise if a checkpoint's configuration names anything but this package's own parts.

    Configurations are resolved before they are written. An interpolation could hide a name from
    this check, so interpolations are refused.

    Raises:
        CheckpointError: with the name.
    """
    if "${" in json.dumps(config, default=str):
        raise CheckpointError(
            f"{path}: its configuration contains an interpolation (${{...}}), which is refused"
        )
    for target in _targets(config):
        if not _is_trusted(str(target)):
            raise CheckpointError(
                f"{path}: its configuration names {target!r}, which is refused: only parts of "
                "s2hand and torch's optimizers are built from a checkpoint"
            )


def _targets(value: Any) -> Iterator[Any]:
    """Every ``_target_`` of nested mappings and lists."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield value["_target_"]
        for item in value.values():
            yield from _targets(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _targets(item)


def _is_trusted(target: str) -> bool:
    """Whether a target is a class, or a schedule, defined in a trusted module.

    A prefix test alone would accept ``s2hand.data.frames.dataset.logging.os.system``.
    """
    module, _, name = target.rpartition(".")
    if not f"{module}.".startswith(_TRUSTED):
        return False
    try:
        named = vars(importlib.import_module(module)).get(name)
    except ImportError:
        return False
    if isinstance(named, FunctionType):
        return named.__module__ == module == "s2hand.training.schedule"
    return isinstance(named, type) and f"{named.__module__}.".startswith(_TRUSTED)
