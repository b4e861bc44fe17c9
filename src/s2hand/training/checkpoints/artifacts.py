"""Checkpoints that lie at Weights & Biases: their names, and how one is fetched."""

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
"""Wherever a checkpoint is asked for, ``wandb:entity/project/name:version`` names an artifact."""
_NAME = re.compile(r"wandb:(\w[\w.-]*/\w[\w.-]*/\w[\w.-]*):(\w[\w.-]*)")


def is_artifact(name: str | Path) -> bool:
    """Whether a checkpoint's name is that of an artifact."""
    return str(name).startswith(PREFIX)


@cache
def fetch(name: str) -> Path:
    """The checkpoint of an artifact, downloaded once into ``$S2HAND_CACHE/wandb``.

    A version (``v3``) never changes, so one that was fetched before needs no network. What an alias
    (``latest``) stands for is asked once per process.

    Args:
        name: ``wandb:entity/project/name:version`` or ``...:alias``.

    Raises:
        ValueError: a name of another form.
        FileNotFoundError: it cannot be fetched, and why; or it holds no single checkpoint.
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
    """Fetch the one checkpoint of an artifact; the folder appears when the file is whole."""
    remote = _remote(name, artifact, version)
    names = [entry for entry in remote.manifest.entries if entry.endswith(".ckpt")]
    if len(names) != 1 or "/" in names[0] or "\\" in names[0]:
        raise FileNotFoundError(
            f"{name} holds {sorted(remote.manifest.entries)[:5]}: it should be one checkpoint, "
            "NAME.ckpt; download it by hand and give the file"
        )
    folder = _folder(artifact, str(remote.version))
    if not (folder / names[0]).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
        try:
            remote.get_entry(names[0]).download(root=str(partial))
            if not (folder / names[0]).is_file():  # nor did another process in the meantime
                folder.mkdir(exist_ok=True)
                os.replace(partial / names[0], folder / names[0])
        except Exception as error:
            raise FileNotFoundError(f"{name} cannot be fetched: {error}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder / names[0]


def _remote(name: str, artifact: str, version: str) -> Any:
    """The artifact as wandb's server describes it."""
    advice = "or download it elsewhere and give the file"
    try:
        import wandb
    except ImportError as error:
        raise FileNotFoundError(f"{name} needs wandb: pip install wandb, {advice}") from error
    if wandb_offline() or os.environ.get("WANDB_MODE") == "disabled":
        raise FileNotFoundError(
            f"{name} was not fetched before, and wandb is offline here: give it a key (wandb "
            f"login, or WANDB_API_KEY) and leave WANDB_MODE unset, {advice}"
        )
    try:
        return wandb.Api().artifact(f"{artifact}:{version}")
    except Exception as error:  # wandb has no common class for what may go wrong here
        raise FileNotFoundError(f"{name} cannot be fetched: {error}") from error
