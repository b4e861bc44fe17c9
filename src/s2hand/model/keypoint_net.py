"""The 2D keypoint estimator: 21 heat maps and their soft-argmax (S2HAND, section 3.3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from s2hand.geometry.skeleton import NUM_JOINTS


class Estimate(NamedTuple):
    """2D joints in units of the crop: 0 = its left or top border, 1 = its right or bottom one."""

    joints: Float[Tensor, "n 21 2"]
    peak: Float[Tensor, "n 21"]
    """Largest value of each normalised heat map: near 1 if the estimator is sure."""


def soft_argmax(maps: Float[Tensor, "n 21 h w"]) -> Estimate:
    """Expected position under the soft-max of each map; differentiable."""
    height, width = maps.shape[-2:]
    weights = maps.flatten(2).softmax(-1)
    y = (torch.arange(height, device=maps.device, dtype=maps.dtype) + 0.5) / height
    x = (torch.arange(width, device=maps.device, dtype=maps.dtype) + 0.5) / width
    grid = torch.stack([x.repeat(height), y.repeat_interleave(width)], -1)
    return Estimate(weights @ grid, weights.amax(-1))


def conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU; the map keeps its size at stride 1."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Two 3x3 convolutions around an identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_bn(channels, channels), conv_bn(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x."""
        return x + self.body(x)


class Hourglass(nn.Module):
    """One hourglass (Newell et al. 2016): down ``depth`` times, up again, skips at every size."""

    def __init__(self, channels: int, depth: int = 4) -> None:
        super().__init__()
        self.skip = Residual(channels)
        self.before = nn.Sequential(nn.MaxPool2d(2), Residual(channels))
        self.inner = Hourglass(channels, depth - 1) if depth > 1 else Residual(channels)
        self.after = Residual(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x; its side must be divisible by 2**depth."""
        low = self.after(self.inner(self.before(x)))
        return self.skip(x) + nn.functional.interpolate(low, scale_factor=2.0)


class HourglassEstimator(nn.Module):
    """Stacked hourglasses on the image, each supervised (public implementation)."""

    strides: tuple[int, ...] = ()

    def __init__(self, stacks: int = 2, channels: int = 128, map_px: int = 64) -> None:
        super().__init__()
        self.map_px = map_px
        self.stem = nn.Sequential(
            conv_bn(3, channels // 2, 7, 2), Residual(channels // 2), nn.MaxPool2d(2),
            conv_bn(channels // 2, channels, 1),
        )  # fmt: skip
        self.stacks = nn.ModuleList(
            nn.Sequential(Hourglass(channels), conv_bn(channels, channels, 1))
            for _ in range(stacks)
        )
        self.to_maps = nn.ModuleList(nn.Conv2d(channels, NUM_JOINTS, 1) for _ in range(stacks))
        self.back = nn.ModuleList(nn.Conv2d(NUM_JOINTS, channels, 1) for _ in range(stacks - 1))

    def forward(self, image: Float[Tensor, "n 3 h w"], maps: dict[int, Tensor]) -> list[Estimate]:
        """One estimate per stack from the image in 0..1; the encoder's maps are not used."""
        size = (4 * self.map_px, 4 * self.map_px)
        x = self.stem(nn.functional.interpolate(image - 0.5, size, mode="bilinear", antialias=True))
        estimates = []
        for i, stack in enumerate(self.stacks):
            y = stack(x)
            heat = self.to_maps[i](y)
            estimates.append(soft_argmax(heat))
            if i + 1 < len(self.stacks):
                x = x + y + self.back[i](heat)
        return estimates


class LightEstimator(nn.Module):
    """A feature-pyramid sum over the encoder's own maps (our definition): nearly free.

    Args:
        channels: channels of the encoder's maps by stride; the finest one's size is the heat maps'.
    """

    def __init__(self, channels: dict[int, int], width: int = 96) -> None:
        super().__init__()
        self.strides = tuple(sorted(channels))
        self.lateral = nn.ModuleDict(
            {str(s): nn.Conv2d(channels[s], width, 1) for s in self.strides}
        )
        self.head = nn.Sequential(conv_bn(width, width), nn.Conv2d(width, NUM_JOINTS, 1))

    def forward(self, image: Float[Tensor, "n 3 h w"], maps: dict[int, Tensor]) -> list[Estimate]:
        """One estimate from the encoder's maps; the image is not used."""
        finest = maps[self.strides[0]]
        total = self.lateral[str(self.strides[0])](finest)
        for stride in self.strides[1:]:
            coarse = self.lateral[str(stride)](maps[stride])
            total = total + nn.functional.interpolate(coarse, finest.shape[-2:], mode="nearest")
        return [soft_argmax(self.head(total))]
