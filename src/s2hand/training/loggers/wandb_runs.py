"""wandb's offline mode and the end of its run, without importing wandb."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import urlparse


def wandb_offline() -> bool:
    """Whether wandb should stay offline: by ``WANDB_MODE``, or for lack of a key.

    The key is ``WANDB_API_KEY``, or that of the server in ``~/.netrc``. ``WANDB_MODE=disabled`` is
    not offline: wandb then writes nothing.
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
    """End wandb's open run, if there is one."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=exit_code)
