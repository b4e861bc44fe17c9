"""Names for the ``loss`` list of a configuration."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def known_losses() -> list[str]:
    """The names of the YAML files in ``conf/loss``, sorted."""
    names = (Path(file.name) for file in files("s2hand.conf").joinpath("loss").iterdir())
    return sorted(name.stem for name in names if name.suffix == ".yaml")
