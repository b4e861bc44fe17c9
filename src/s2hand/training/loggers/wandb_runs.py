"""Whether wandb stays offline, and how its run is ended; wandb itself is not imported."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import urlparse


def wandb_offline() -> bool:
    """Whether wandb should stay offline: it was told to, or nobody gave it a key.

    A key is one in ``WANDB_API_KEY``, or in ``~/.netrc`` for the server in use.
    ``WANDB_MODE=disabled`` is not offline: wandb then writes nothing at all.
    """
    mode = os.environ.get("WANDB_MODE")
    if mode:
        return mode in ("offline", "dryrun")
    server = urlparse(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname
    netrc = Path.home() / ".netrc"
    return not os.environ.get("WANDB_API_KEY") and not (
        netrc.is_file() and str(server) in netrc.read_text(errors="ignore")
    )


def close_wandb(exit_code: int) -> None:
    """End the run that wandb has open, if it has one."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=exit_code)
