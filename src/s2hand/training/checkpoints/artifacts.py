"""Checkpoints stored at Weights & Biases: their names, and downloading."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from s2hand.files.folders import default_root
from s2hand.training.loggers.wandb_runs import wandb_offline

PREFIX = "wandb:"
"""``wandb:entity/project/name:version`` names an artifact wherever a checkpoint is expected."""
_NAME = re.compile(r"wandb:(\w[\w.-]*/\w[\w.-]*/\w[\w.-]*):(\w[\w.-]*)")


def is_artifact(name: str | Path) -> bool:
    """Whether a checkpoint's name refers to an artifact."""
    return str(name).startswith(PREFIX)


@cache
def fetch(name: str) -> Path:
    """The checkpoint of an artifact, downloaded once into ``$S2HAND_CACHE/wandb``.

    A version (``v3``) never changes, so a downloaded one needs no network. An alias (``latest``) is
    resolved once per process.

    Args:
        name: ``wandb:entity/project/name:version`` or ``...:alias``.

    Raises:
        ValueError: the name has another form.
        FileNotFoundError: the artifact cannot be fetched, or does not hold exactly one checkpoint.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"{name}: write wandb:entity/project/name:version, as wandb shows it")
    artifact, version = found.groups()
    if re.fullmatch(r"v\d+", version):
        kept = sorted(_folder(artifact, version).glob("*.ckpt"))
        if kept:
            return kept[0]
    return _download(name, artifact, version)


def _folder(artifact: str, version: str) -> Path:
    return default_root() / "wandb" / artifact.replace("/", "--") / version


def _download(name: str, artifact: str, version: str) -> Path:
    """Download an artifact's checkpoint; its folder appears only with the complete file."""
    remote = _remote(name, artifact, version)
    names = [entry for entry in remote.manifest.entries if entry.endswith(".ckpt")]
    if len(names) != 1 or "/" in names[0] or "\\" in names[0]:
        raise FileNotFoundError(
            f"{name} holds {sorted(remote.manifest.entries)[:5]}: expected one checkpoint, "
            "NAME.ckpt; download it by hand and give its path"
        )
    folder = _folder(artifact, str(remote.version))
    if not (folder / names[0]).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
        try:
            remote.get_entry(names[0]).download(root=str(partial))
            if not (folder / names[0]).is_file():  # unless another process wrote it
                folder.mkdir(exist_ok=True)
                os.replace(partial / names[0], folder / names[0])
        except Exception as error:
            raise FileNotFoundError(f"{name} cannot be fetched: {error}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder / names[0]


def _remote(name: str, artifact: str, version: str) -> Any:
    """The artifact as wandb's server describes it.

    Raises:
        FileNotFoundError: wandb is not installed, offline, or refuses.
    """
    advice = "or download it elsewhere and give its path"
    try:
        import wandb
    except ImportError as error:
        raise FileNotFoundError(f"{name} needs wandb: pip install wandb, {advice}") from error
    if wandb_offline() or os.environ.get("WANDB_MODE") == "disabled":
        raise FileNotFoundError(
            f"{name} is not downloaded, and wandb is offline here: set a key (wandb login, or "
            f"WANDB_API_KEY) and leave WANDB_MODE unset, {advice}"
        )
    try:
        return wandb.Api().artifact(f"{artifact}:{version}")
    except Exception as error:  # wandb has no common error class
        raise FileNotFoundError(f"{name} cannot be fetched: {error}") from error
