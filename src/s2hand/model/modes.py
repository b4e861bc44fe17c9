"""Training and evaluation mode, part by part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for the block; afterwards each part has its previous mode."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def freeze_batch_norm(module: nn.Module) -> None:
    """Put batch norms into evaluation mode: statistics are fixed, scales and shifts learn."""
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.eval()
