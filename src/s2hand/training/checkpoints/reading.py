"""Checkpoints: plain values and tensors, read without executing anything, and what is refused."""

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
"""The newest checkpoint of a run, and beside it the one before."""
FORMAT = 1
"""Goes up when older versions could not read a new checkpoint."""
_RECORD = {"format", "version", "hand", "config"}
_TRUSTED = (
    "s2hand.model.", "s2hand.hand.mano.", "s2hand.render.", "s2hand.loss.",
    "s2hand.training.objective.", "s2hand.training.schedule.", "s2hand.data.", "s2hand.window.",
    "torch.optim.",
)  # fmt: skip
"""Where the classes that a checkpoint's configuration may name are defined."""


class CheckpointError(RuntimeError):
    """A file is no checkpoint of this package, or one that cannot be used here."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint is cut short or changed, or was none ever."""


class HandModelMismatchError(CheckpointError):
    """A checkpoint was trained on another hand model than the one in use."""


def checkpoint_file(path: str | Path) -> Path:
    """Where a checkpoint lies: ``path`` itself, or the file that a name stands for.

    ``pretrained`` is the one that ships with the package; what it was trained on and how well it
    does says the card beside it, ``open_hand.md``. ``wandb:entity/project/name:version`` is fetched
    (:func:`s2hand.training.checkpoints.artifacts.fetch`).
    """
    if is_artifact(path):
        return fetch(str(path))
    if str(path) != PRETRAINED:
        return Path(path)
    return shipped_checkpoint()


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Open a checkpoint, on the CPU, without executing anything in it.

    ``path`` may be a name: see :func:`checkpoint_file`.

    Raises:
        FileNotFoundError: no such file, or one at wandb that cannot be fetched.
        OSError: the disk does not give it.
        DamagedCheckpointError: it cannot be read, or a checksum in it does not hold.
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
    except Exception as error:  # torch's own words advise to unpickle the file all the same
        if is_artifact(name):
            other = "; delete it, and it is fetched again"
        raise DamagedCheckpointError(
            f"{path} is no readable checkpoint: it is damaged, or holds more than tensors and "
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
    """Read a file of ``torch.save``; torch itself does not look at the checksums."""
    with path.open("rb") as file:
        with zipfile.ZipFile(file) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise ValueError(f"the checksum of {broken} does not hold")
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)


def check_hand(checkpoint: dict[str, Any], name: str, fingerprint: str) -> None:
    """Raise unless the checkpoint was trained on this hand: betas and PCA codes do not transfer."""
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
    """Copy the weights of a checkpoint into a module: all of them, and for all of its parts.

    Args:
        module: takes them.
        checkpoint: what :func:`read_checkpoint` read from ``path``.
        path: where from, for the message of an error.
        allow_missing: parts of the module that the checkpoint may lack, by dotted name, such as
            ``reconstructor.network.keypoints``; they stay as they are.

    Raises:
        CheckpointError: weights that are missing, left over, or of another size, by name; or an
            ``allow_missing`` that nothing missing goes by, and so is a mistake.
    """
    own, found = module.state_dict(), checkpoint["state_dict"]
    missing, unexpected = own.keys() - found.keys(), found.keys() - own.keys()
    sizes = {k: (tuple(found[k].shape), tuple(own[k].shape)) for k in own.keys() & found.keys()}
    other = sorted(name for name, (there, here) in sizes.items() if there != here)
    allowed = {part: _below(part, missing) for part in allow_missing}
    for part, named in allowed.items():
        if not named:
            lacking = f"what it lacks is {_listed(_parts(missing, own))}" if missing else "none is"
            raise CheckpointError(
                f"allow_missing={part}: no such part is missing in {path}; {lacking}"
            )
    missing = missing.difference(*allowed.values())
    if missing:
        parts = _parts(missing, own)
        raise CheckpointError(
            f"{path} has no weights for {_listed(parts)}; if they shall stay as they are built: "
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
            f"{path}: {len(other)} weights are of another size than in this model, the first of "
            f"them {other[0]}: {there}, here {here}; build the network that was trained"
        )
    module.load_state_dict(found, strict=not allow_missing)


def _below(part: str, names: Iterable[str]) -> set[str]:
    """The names of a part: its own, and those of what is in it."""
    inner = f"{part.rstrip('.')}."
    return {name for name in names if f"{name}.".startswith(inner)}


def _parts(names: Iterable[str], of: Iterable[str]) -> list[str]:
    """The fewest parts that ``names``, and none else ``of`` all, belong to."""
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

    It was resolved when it was written. An interpolation in it could hide a name from this check
    until it is resolved, so none is let through.
    """
    if "${" in json.dumps(config, default=str):
        raise CheckpointError(
            f"{path}: its configuration names values by interpolation (${{...}}), which is refused"
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
    """Whether a target is a class, or a schedule, that a trusted module defines itself.

    The prefix alone would let ``s2hand.data.frames.dataset.logging.os.system`` through.
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
