from __future__ import annotations

from functools import partial

import pytest
import torch

from s2hand.model.encoder import Encoder
from s2hand.model.networks import CodeNetwork, CompactNetwork, S2HandNetwork

PAPER = partial(Encoder, "mobilenetv3_small_050", input_px=64)
SMALL = partial(Encoder, "mobilenetv3_small_050", frozen_stride=16, input_px=64)
CASES = [
    (S2HandNetwork, PAPER, "light"),
    (S2HandNetwork, PAPER, "none"),
    (CompactNetwork, SMALL, "light"),
    (CompactNetwork, SMALL, "none"),
]


@pytest.mark.parametrize(("network", "encoder", "estimator"), CASES)
def test_codes_have_their_shapes_and_every_part_learns(
    network: type[CodeNetwork], encoder: partial[Encoder], estimator: str
) -> None:
    net = network(encoder=encoder, keypoint_net=estimator, num_pose=12)
    raw = net(torch.rand(4, 3, 64, 64))
    assert {k: tuple(v.shape[1:]) for k, v in raw.values.items()} == {
        "pose": (12,), "shape": (10,), "scale": (1,), "rotation": (3,), "translation": (3,),
        "texture": (778, 3), "light": (11,),
    }  # fmt: skip
    assert len(raw.estimates) == (1 if estimator == "light" else 0)
    total = sum(x.square().sum() for x in raw.values.values())
    total = total + sum(e.joints.square().sum() for e in raw.estimates)
    total.backward()
    without = [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_compact_network_runs_from_cached_features_alone() -> None:
    net = CompactNetwork(encoder=SMALL).eval()
    image = torch.rand(3, 3, 64, 64)
    features = net.encoder.frozen_maps(image)
    direct, cached = net(image), net(torch.zeros_like(image), features)
    for name, value in direct.values.items():
        torch.testing.assert_close(cached.values[name], value)


def test_estimates_enter_the_compact_regressor_detached() -> None:
    net = CompactNetwork(encoder=SMALL)
    net(torch.rand(4, 3, 64, 64)).values["pose"].sum().backward()
    assert net.keypoints is not None
    assert all(p.grad is None for p in net.keypoints.parameters())


def test_unknown_estimator_is_named() -> None:
    with pytest.raises(ValueError, match="keypoint_net='big'"):
        S2HandNetwork(encoder=PAPER, keypoint_net="big")  # type: ignore[arg-type]
