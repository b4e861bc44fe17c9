"""Random, well-conditioned predictions and batches, and every configured loss on a fake hand."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra.utils import get_class
from omegaconf import OmegaConf

from s2hand.loss.base import Loss
from s2hand.types import Camera, Hand, HandBatch, HandCode, Labels, Prediction, Render

CONF = Path(__file__).parents[2] / "conf" / "loss"
VERTICES = 778
PX = 12


class FakeHand:
    """Stands in for the hand layer: a strip of triangles, and angles linear in the quaternions."""

    def __init__(self) -> None:
        first = torch.arange(VERTICES - 2)
        self.faces = torch.stack([first, first + 1, first + 2], -1)
        limits = torch.tensor([[-0.1, 0.2], [-0.2, 0.1], [-0.3, 1.5]])
        self.angle_limits = limits.expand(15, 3, 2).clone()

    def __call__(self, code: HandCode) -> Hand:
        raise NotImplementedError("a loss must not pose the hand again")

    def joint_angles(self, quaternions: torch.Tensor) -> torch.Tensor:
        return 2 * quaternions[..., 1:, 1:]

    def native_joints(self, hand: Hand, convention: str | None) -> torch.Tensor:
        return hand.joints


def make_sample(
    b: int = 2, t: int = 1, dtype: torch.dtype = torch.float64, seed: int = 0
) -> tuple[Prediction, HandBatch]:
    """A prediction and a batch far from every kink of the losses."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        values = torch.rand(b, t, *shape, generator=generator, dtype=torch.float64)
        return (low + (high - low) * values).to(dtype)

    quaternions = rand(16, 4, low=-1)
    quaternions = quaternions / quaternions.norm(dim=-1, keepdim=True)
    code = HandCode(
        pose=rand(30, low=-1),
        shape=rand(10, low=-1),
        scale=rand(1, low=0.8, high=1.2),
        rotation=rand(3, low=-1),
        translation=rand(3),
        texture=rand(VERTICES, 3) ** 4,  # with outliers
        light=rand(11),
    )
    hand = Hand(code, rand(VERTICES, 3, low=-0.1, high=0.1), rand(21, 3, low=-0.1), quaternions)
    joints_2d = rand(21, 2, high=224)
    prediction = Prediction(
        hand,
        joints_2d,
        (rand(21, 2, high=224), rand(21, 2, high=224)),
        Render(rand(3, PX, PX), rand(PX, PX, low=0.2, high=0.9), rand(PX, PX)),
    )
    batch = HandBatch(
        image=rand(3, PX, PX),
        keypoints=joints_2d + rand(21, 2, low=-20, high=20),
        confidence=rand(21, low=0.2),
        camera=Camera(torch.eye(3, dtype=dtype).expand(b, t, 3, 3)),
        index=torch.arange(b * t).reshape(b, t),
        labels=Labels(rand(21, 3, low=-0.1), rand(VERTICES, 3, low=-0.1)),
    )
    return prediction, batch


def edit_hand(prediction: Prediction, **fields: torch.Tensor) -> Prediction:
    """The prediction with fields of its hand, or of the hand's code, replaced."""
    hand = prediction.hand
    of_code = {k: v for k, v in fields.items() if hasattr(hand.code, k)}
    of_hand = {k: v for k, v in fields.items() if k not in of_code}
    return replace(prediction, hand=replace(hand, code=replace(hand.code, **of_code), **of_hand))


def build_loss(name: str, dtype: torch.dtype = torch.float64) -> Loss:
    """The loss of ``conf/loss/<name>.yaml``."""
    options = dict(OmegaConf.load(CONF / f"{name}.yaml")[name].fn)
    make = get_class(options.pop("_target_"))
    if "hand" in inspect.signature(make).parameters:
        options["hand"] = FakeHand()
    return make(**options).to(dtype)


@pytest.fixture
def sample() -> Callable[..., tuple[Prediction, HandBatch]]:
    return make_sample


@pytest.fixture
def edit() -> Callable[..., Prediction]:
    return edit_hand


@pytest.fixture
def loss() -> Callable[..., Loss]:
    return build_loss


@pytest.fixture
def fake_hand() -> FakeHand:
    return FakeHand()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for ``term`` runs once for every configured loss."""
    if "term" in metafunc.fixturenames:
        metafunc.parametrize("term", sorted(path.stem for path in CONF.glob("*.yaml")))
