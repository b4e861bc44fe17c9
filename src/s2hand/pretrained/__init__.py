"""The checkpoint that ships with the package: ``open_hand.ckpt``, and its card ``open_hand.md``."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

PRETRAINED = "pretrained"
"""Wherever a checkpoint is asked for, this name stands for the one that ships."""


def shipped_checkpoint() -> Path:
    """Where it lies."""
    return Path(str(files(__name__).joinpath("open_hand.ckpt")))
