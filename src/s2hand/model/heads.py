"""Heads: pooled features to the geometry code, low-level features to the texture code."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from s2hand.geometry.skeleton import NUM_VERTICES

LAST_STD = 1e-3
"""Standard deviation of the last layers' weights (public implementation): training starts near the
initial values below."""
SCALE_START = 0.95
DEPTH_START_M = 0.65
MEAN_SKIN = (200 / 256, 150 / 256, 150 / 256)
NUM_SHAPE = 10
NUM_LIGHT = 11


def small_mlp(inputs: int, outputs: int, hidden: int = 128, bias: float = 0.0) -> nn.Sequential:
    """Two linear layers; the output starts near a constant."""
    last = nn.Linear(hidden, outputs)
    nn.init.normal_(last.weight, std=LAST_STD)
    nn.init.constant_(last.bias, bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(inplace=True), last)


class GeometryHead(nn.Module):
    """One small MLP per quantity of the geometry code x (S2HAND, section 3.1).

    Initial values (public implementation): scale 0.95, depth 0.65 m, everything else zero, so that
    training starts with a visible hand in front of the camera. The scale is used by magnitude.
    """

    def __init__(self, inputs: int, num_pose: int = 30) -> None:
        super().__init__()
        self.pose = small_mlp(inputs, num_pose)
        self.shape = small_mlp(inputs, NUM_SHAPE)
        self.scale = small_mlp(inputs, 1, bias=SCALE_START)
        self.rotation = small_mlp(inputs, 3)
        self.translation = small_mlp(inputs, 3)
        with torch.no_grad():
            self.translation.get_parameter("2.bias")[2] = DEPTH_START_M

    def forward(self, x: Float[Tensor, "n c"]) -> dict[str, Tensor]:
        """pose [n, p], shape [n, 10], scale [n, 1], rotation [n, 3], translation [n, 3]."""
        return {
            "pose": self.pose(x),
            "shape": self.shape(x),
            "scale": self.scale(x).abs(),
            "rotation": self.rotation(x),
            "translation": self.translation(x),
        }


class TextureHead(nn.Module):
    """A low-level feature map to per-vertex colours and light (S2HAND, section 3.1).

    Public implementation: two strided convolutions with pooling, then two MLPs. Colours start at
    the mean skin (200, 150, 150)/256, all light values at 1.
    """

    skin: Tensor

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
        )
        self.texture = small_mlp(width * 16, NUM_VERTICES * 3, hidden=256)
        self.light = small_mlp(width * 16, NUM_LIGHT, hidden=64, bias=1.0)
        self.register_buffer("skin", torch.tensor(MEAN_SKIN), persistent=False)

    def forward(self, low: Float[Tensor, "n c h w"]) -> dict[str, Tensor]:
        """texture [n, 778, 3], RGB albedo around mean skin, and light [n, 11]."""
        x = self.body(low)
        offsets = self.texture(x).unflatten(1, (NUM_VERTICES, 3))
        return {"texture": self.skin + offsets, "light": self.light(x)}
