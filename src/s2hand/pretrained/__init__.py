"""The checkpoint that ships with the package: ``open_hand.ckpt``, and its card ``open_hand.md``."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

PRETRAINED = "pretrained"
"""The name of the shipped checkpoint, accepted in place of a checkpoint's path."""


def shipped_checkpoint() -> Path:
    """Its path."""
    return Path(str(files(__name__).joinpath("open_hand.ckpt")))
