"""Several processes: how long they wait for each other, and batch norm over all of them."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from pytorch_lightning.plugins.layer_sync import LayerSync
from pytorch_lightning.strategies import DDPStrategy
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def ddp(timeout_minutes: float = 10, find_unused_parameters: bool = True) -> DDPStrategy:
    """Lightning's DDP with a timeout for processes that do not answer.

    Args:
        timeout_minutes: how long one process waits for the others. The longest waits are for the
            first process to draw panels and write checkpoints, and for the slowest process to
            prepare data. (Lightning's default is 30.)
        find_unused_parameters: allow losses that leave parts of the network without a gradient;
            ``false`` is a little faster where every part has one.
    """
    timeout = timedelta(minutes=timeout_minutes)
    return DDPStrategy(timeout=timeout, find_unused_parameters=find_unused_parameters)


class SyncLayers(LayerSync):
    """Makes every batch norm use the batches of all processes while training.

    On GPUs this is timm's conversion to torch's ``SyncBatchNorm``. Lightning's
    ``sync_batchnorm=True`` does not know timm's layers, a batch norm and an activation in one, and
    would drop the activations.

    torch's ``SyncBatchNorm`` refuses CPU tensors, so under gloo (``trainer=ddp_cpu``, on which the
    distributed path is tested) each batch norm gathers the batches of all processes instead.
    Weights, names and frozen parts are unchanged.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Synchronise every batch norm."""
        if dist.is_initialized() and dist.get_backend() != "gloo":
            return convert_sync_batchnorm(model)
        for part in model.modules():
            if isinstance(part, _BatchNorm) and not isinstance(part, _Gathering):
                part.__class__ = _gathering(type(part))  # type: ignore[arg-type]
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Undo :meth:`apply`; timm's layers stay, which act as plain ones in a single process."""
        for part in model.modules():
            if isinstance(part, _Gathering):
                part.__class__ = type(part).__mro__[2]
        return model


@cache
def _gathering(plain: type[_BatchNorm]) -> type[_BatchNorm]:
    return type(f"Gathering{plain.__name__}", (_Gathering, plain), {})


class _Gathering(_BatchNorm):
    """Mixin before a batch norm: in training mode it normalises the batches of all processes.

    Every process must bring a batch of the same size, as this package's loaders do.
    """

    def forward(self, x: Float[Tensor, "n c *size"]) -> Float[Tensor, "n c *size"]:
        """The rows of this process in the output of the plain layer for all rows."""
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        rank, rows = dist.get_rank(), len(x)
        return super().forward(_Gather.apply(x))[rank * rows : (rank + 1) * rows]


class _Gather(torch.autograd.Function):
    """The tensors of all processes one after the other, differentiable through all of them."""

    @staticmethod
    def forward(ctx: Any, local: Float[Tensor, n * d]) -> Float[Tensor, all * d]:
        """Concatenate by rank."""
        parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, local.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Float[Tensor, all * d]) -> Float[Tensor, n * d]:
        """This process's rows of the sum of all gradients."""
        total = gradient.clone()
        dist.all_reduce(total)
        rank, rows = dist.get_rank(), len(total) // dist.get_world_size()
        return total[rank * rows : (rank + 1) * rows]
