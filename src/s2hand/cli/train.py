"""``s2hand-train``: train S2HAND from a composed configuration."""

from __future__ import annotations

from omegaconf import DictConfig

from s2hand.cli.common.app import command, quiet_libraries
from s2hand.training.run import train


@command("train")
def main(cfg: DictConfig) -> float | None:
    """Train; returns what :func:`train` does."""
    quiet_libraries()
    return train(cfg)


if __name__ == "__main__":
    main()
