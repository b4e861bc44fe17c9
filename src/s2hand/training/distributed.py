"""Several processes: how they find out that one is gone, and batch norm over all of them."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from pytorch_lightning.plugins.layer_sync import LayerSync
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def ddp(timeout_minutes: float = 10, find_unused_parameters: bool = True) -> DDPStrategy:
    """Lightning's DDP, which gives up on a process that does not answer.

    Args:
        timeout_minutes: how long one process waits for the others. The longest wait there is: for
            the first one to draw panels and write checkpoints, and for the slowest to prepare data.
            (Lightning's own default is 30.)
        find_unused_parameters: allow losses that leave parts of the network without a gradient;
            ``false`` is a little faster where none does.
    """
    timeout = timedelta(minutes=timeout_minutes)
    return DDPStrategy(timeout=timeout, find_unused_parameters=find_unused_parameters)


class SyncLayers(LayerSync):
    """Has the trainer make every batch norm one over the batches of all processes, on any device.

    Not Lightning's ``sync_batchnorm=True``: it puts torch's class in place of timm's, which are a
    batch norm and an activation in one, and so takes the activations out of the encoder; and it
    runs on GPUs alone. Here the parts stay what they are, with their weights and names; only how
    statistics are taken in training mode is changed. Frozen parts are left as they are.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Every batch norm over all processes."""
        for part in model.modules():
            if isinstance(part, _BatchNorm) and not isinstance(part, _OverProcesses):
                part.__class__ = _over_processes(type(part))  # type: ignore[arg-type]
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Every batch norm for itself again."""
        for part in model.modules():
            if isinstance(part, _OverProcesses):
                part.__class__ = type(part).__mro__[2]
        return model


@cache
def _over_processes(alone: type[_BatchNorm]) -> type[_BatchNorm]:
    return type(f"{alone.__name__}OverProcesses", (_OverProcesses, alone), {})


class _Sum(torch.autograd.Function):
    """A tensor added up over all processes; each one's gradient is the sum of all gradients."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        """The sum."""
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """The sum of the gradients."""
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class _OverProcesses(_BatchNorm):
    """Mixin before a batch norm: in training mode, statistics of the batches of all processes.

    Every process must bring a batch of the same size, as this package's loaders do.
    """

    def forward(self, x: Float[Tensor, "n c *size"]) -> Float[Tensor, "n c *size"]:
        """Normalise, scale and shift; then what the part does beside (timm's dropout, activation).

        Ioffe and Szegedy 2015; the sums are differentiated through all processes.
        """
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        axes = [axis for axis in range(x.dim()) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(x.dim())]
        count = x.numel() // x.shape[1] * dist.get_world_size()
        mean = _Sum.apply(x.float().sum(axes)) / count
        centred = x.float() - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / count
        self._keep(mean.detach(), variance.detach() * count / (count - 1))
        out = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        out = out.to(x.dtype)
        for name in ("drop", "act"):
            part = getattr(self, name, None)
            out = out if part is None else part(out)
        return out

    def _keep(self, mean: Float[Tensor, " c"], unbiased: Float[Tensor, " c"]) -> None:
        """Move the running statistics, as torch does."""
        tracked, counted = (self.running_mean, self.running_var), self.num_batches_tracked
        if tracked[0] is not None and tracked[1] is not None and counted is not None:
            counted.add_(1)
            rate = self.momentum or 1 / float(counted)
            tracked[0].lerp_(mean, rate)
            tracked[1].lerp_(unbiased, rate)
