"""A random prediction whose parts agree: 2D joints are the projected 3D joints."""

from __future__ import annotations

import pytest
import torch

from s2hand.geometry.camera import project
from s2hand.types import Camera, Hand, HandCode, Prediction, Render


@pytest.fixture
def prediction() -> Prediction:
    generator = torch.Generator().manual_seed(0)

    def random(*size: int) -> torch.Tensor:
        return torch.rand(2, 3, *size, generator=generator, dtype=torch.float64)

    code = HandCode(
        pose=random(30),
        shape=random(10),
        scale=random(1),
        rotation=random(3) - 0.5,
        translation=random(3),
        texture=random(778, 3),
        light=random(11),
    )
    depth = torch.tensor([0.0, 0.0, 0.6], dtype=torch.float64)
    joints = 0.1 * (random(21, 3) - 0.5) + depth
    quaternions = torch.nn.functional.normalize(random(16, 4) - 0.5, dim=-1)
    hand = Hand(code, 0.1 * (random(778, 3) - 0.5) + depth, joints, quaternions)
    render = Render(random(3, 8, 8), random(8, 8), random(8, 8))
    return Prediction(hand, project(joints, intrinsics()), (random(21, 2),), render)


def intrinsics() -> torch.Tensor:
    """A rotated crop's camera: K with an in-plane rotation inside."""
    angle = torch.tensor(0.3)
    turn = torch.eye(3, dtype=torch.float64)
    turn[0, 0] = turn[1, 1] = angle.cos()
    turn[0, 1], turn[1, 0] = -angle.sin(), angle.sin()
    k = torch.tensor([[500.0, 0, 100], [0, 480, 120], [0, 0, 1]], dtype=torch.float64)
    return (turn @ k).expand(2, 3, 3, 3)


@pytest.fixture
def camera() -> Camera:
    return Camera(intrinsics(), crop_px=224)
