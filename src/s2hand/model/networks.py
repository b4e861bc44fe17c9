"""``S2HandNetwork`` (the papers') and ``CompactNetwork`` (ours), with one interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from s2hand.model.encoder import Encoder
from s2hand.model.heads import GeometryHead, TextureHead
from s2hand.model.keypoint_net import (
    Estimate,
    HourglassEstimator,
    LightEstimator,
    Residual,
    conv_bn,
)

KeypointNet = Literal["hourglass", "light", "none"]


class RawCodes(NamedTuple):
    """A network's output for images: values by name, and the 2D estimates of each stage."""

    values: dict[str, Tensor]
    estimates: list[Estimate]


class CodeNetwork(nn.Module):
    """Base of both: an encoder, an optional 2D estimator, and heads."""

    encoder: Encoder

    def forward(
        self, image: Float[Tensor, "n 3 h w"], features: tuple[Tensor, ...] | None = None
    ) -> RawCodes:
        """Images in 0..1 (or cached frozen features) to codes; time is already folded into n."""
        raise NotImplementedError


class S2HandNetwork(CodeNetwork):
    """The papers' network (S2HAND, section 3.1): pooled features to x, low-level ones to y.

    Args:
        encoder: makes the encoder when called with ``strides=``.
        keypoint_net: ``hourglass`` (2 stacks on the image, 64x64 maps, as published), ``light``
            (shares the encoder) or ``none``.
        num_pose: PCA coefficients of the hand.
    """

    def __init__(
        self,
        encoder: Callable[..., Encoder] = Encoder,
        keypoint_net: KeypointNet = "light",
        num_pose: int = 30,
    ) -> None:
        super().__init__()
        pyramid = (8, 16, 32) if keypoint_net == "light" else ()
        self.encoder = encoder(strides=tuple({4, 32, *pyramid}))
        channels = self.encoder.channels
        self.keypoints = _estimator(keypoint_net, {s: channels[s] for s in pyramid})
        self.trunk = nn.Sequential(
            _linear_bn(channels[32], 1024),
            _linear_bn(1024, 512),
        )
        self.geometry = GeometryHead(512, num_pose)
        self.texture = TextureHead(channels[4])

    def forward(self, image: Tensor, features: tuple[Tensor, ...] | None = None) -> RawCodes:
        """See :class:`CodeNetwork`."""
        maps = self.encoder(image, features)
        values = self.geometry(self.trunk(maps[32].mean((2, 3)))) | self.texture(maps[4])
        estimates = self.keypoints(image, maps) if self.keypoints is not None else []
        return RawCodes(values, estimates)


class CompactNetwork(CodeNetwork):
    """A small trainable neck on frozen ImageNet features (ours), for machines without GPU.

    The frozen maps (strides 8 and 16) can be cached, after which a step costs a few small
    convolutions. The 2D estimates and their peak values enter the regressor, detached: the pose
    depends mostly on the 2D positions of the joints.
    """

    def __init__(
        self,
        encoder: Callable[..., Encoder] = Encoder,
        keypoint_net: KeypointNet = "light",
        num_pose: int = 30,
        width: int = 48,
    ) -> None:
        super().__init__()
        self.encoder = encoder(strides=(8, 16))
        channels = self.encoder.channels
        self.fine = nn.Sequential(conv_bn(channels[8], width, 1), Residual(width))
        self.down = conv_bn(width, 2 * width, 3, 2)
        self.coarse = conv_bn(channels[16], 2 * width, 1)
        self.middle = Residual(2 * width)
        self.top = nn.Sequential(
            conv_bn(2 * width, 4 * width, 3, 2), Residual(4 * width), conv_bn(4 * width, 64, 1),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        )  # fmt: skip
        neck = {8: width, 16: 2 * width}
        self.keypoints = _estimator(keypoint_net, neck, width)
        estimated = 63 if self.keypoints is not None else 0
        self.trunk = _linear_bn(64 * 16 + estimated, 512)
        self.geometry = GeometryHead(512 + estimated, num_pose)
        self.texture = TextureHead(channels[8])
        self.to(memory_format=torch.channels_last)  # 1.6 times faster on a CPU

    def forward(self, image: Tensor, features: tuple[Tensor, ...] | None = None) -> RawCodes:
        """See :class:`CodeNetwork`."""
        # Neck on the frozen maps.
        maps = self.encoder(image, features)
        fine = self.fine(maps[8])
        middle = self.middle(self.down(fine) + self.coarse(maps[16]))
        pooled = self.top(middle)
        # 2D joints and their peaks, as further inputs of the regressor.
        estimates = []
        estimated = pooled[:, :0]
        if self.keypoints is not None:
            estimates = self.keypoints(image, {8: fine, 16: middle})
            last = estimates[-1]
            estimated = torch.cat([(last.joints - 0.5).flatten(1), last.peak], 1).detach()
        # Regressor of the code.
        x = self.trunk(torch.cat([pooled, estimated], 1))
        values = self.geometry(torch.cat([x, estimated], 1)) | self.texture(maps[8])
        return RawCodes(values, estimates)


def _linear_bn(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)
    )


def _estimator(
    name: KeypointNet, channels: dict[int, int], light_width: int = 96
) -> nn.Module | None:
    if name == "hourglass":
        return HourglassEstimator()
    if name == "light":
        return LightEstimator(channels, light_width)
    if name == "none":
        return None
    raise ValueError(f"keypoint_net={name!r}: use hourglass, light or none")
