from __future__ import annotations

import torch

from s2hand.model.heads import GeometryHead, TextureHead


def test_training_starts_with_a_hand_in_front_of_the_camera() -> None:
    torch.manual_seed(0)
    values = GeometryHead(512)(torch.randn(64, 512))
    assert {name: x.shape[1] for name, x in values.items()} == {
        "pose": 30, "shape": 10, "scale": 1, "rotation": 3, "translation": 3,
    }  # fmt: skip
    torch.testing.assert_close(values["scale"], torch.full((64, 1), 0.95), atol=0.05, rtol=0)
    expected = torch.tensor([0.0, 0.0, 0.65]).expand(64, 3)
    torch.testing.assert_close(values["translation"], expected, atol=0.05, rtol=0)
    for name in ("pose", "shape", "rotation"):
        assert values[name].abs().max() < 0.05


def test_scale_is_a_magnitude() -> None:
    head = GeometryHead(8)
    with torch.no_grad():
        head.scale[-1].bias.fill_(-2.0)
    assert (head(torch.zeros(3, 8))["scale"] > 0).all()


def test_texture_starts_at_mean_skin_and_light_at_one() -> None:
    torch.manual_seed(0)
    values = TextureHead(24).eval()(torch.randn(2, 24, 56, 56))
    assert values["texture"].shape == (2, 778, 3)
    skin = torch.tensor([200.0, 150, 150]) / 256
    torch.testing.assert_close(values["texture"], skin.expand(2, 778, 3), atol=0.05, rtol=0)
    torch.testing.assert_close(values["light"], torch.ones(2, 11), atol=0.05, rtol=0)
