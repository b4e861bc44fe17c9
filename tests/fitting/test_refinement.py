"""Test-time refinement: never worse than the start by its own measure, and only the code moves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from fixtures.hands import open_hands, pictures
from s2hand.fitting import refinement
from s2hand.fitting.refinement import Refinement, refine, refine_each
from s2hand.geometry.camera import project
from s2hand.training.build import make_module
from s2hand.training.module import S2Hand
from s2hand.types import HandBatch, Labels


@pytest.fixture
def module(smoke: DictConfig) -> S2Hand:
    """An untrained model: what it says is far from any picture."""
    pl.seed_everything(0, verbose=False)
    return make_module(smoke).eval()


@pytest.fixture(scope="module")
def batch() -> HandBatch:
    """Two rendered hands whose keypoints are exact."""
    hand, camera = open_hands(2)
    images, _ = pictures(hand, camera)
    return HandBatch(
        image=torch.from_numpy(images).permute(0, 3, 1, 2)[:, None].float() / 255,
        keypoints=project(hand.joints, camera.intrinsics),
        confidence=torch.ones(2, 1, 21),
        camera=camera,
        index=torch.tensor([[0], [1]]),
    )


def loss(module: S2Hand, prediction, batch: HandBatch) -> float:
    with torch.no_grad():
        return float(module.objective(prediction, batch).total)


def run(module: S2Hand, batch: HandBatch, steps: int, lr: float = 5e-3):
    return refine(module.reconstructor, module.objective, batch, Refinement(steps, lr))


def test_it_lowers_the_objective_and_the_image_error(module: S2Hand, batch: HandBatch) -> None:
    with torch.no_grad():
        start = module(batch)
    refined = run(module, batch, 40)
    assert loss(module, refined, batch) < 0.8 * loss(module, start, batch)
    before, after = (
        (p.joints_2d - batch.keypoints).norm(dim=-1).mean((1, 2)) for p in (start, refined)
    )
    assert (after < 0.8 * before).all(), "of every frame"


@pytest.mark.parametrize(("steps", "lr"), [(0, 5e-3), (1, 5e-3), (4, 30.0)])
def test_it_is_never_worse_than_the_prediction(
    module: S2Hand, batch: HandBatch, steps: int, lr: float
) -> None:
    with torch.no_grad():
        start = module(batch)
    refined = run(module, batch, steps, lr)
    assert loss(module, refined, batch) <= loss(module, start, batch) * (1 + 1e-5)
    assert refined.render is not None


def test_only_the_code_moves(module: S2Hand, batch: HandBatch) -> None:
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with torch.no_grad():
        start = module(batch)
    refined = run(module, batch, 3)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())
    for ours, theirs in zip(refined.estimated_joints_2d, start.estimated_joints_2d, strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(refined.hand.code.rotation, start.hand.code.rotation)
    assert not torch.equal(refined.hand.code.texture, start.hand.code.texture)


def test_it_works_where_gradients_are_off(module: S2Hand, batch: HandBatch) -> None:
    with torch.no_grad():
        refined = run(module, batch, 2)
    assert not refined.hand.vertices.requires_grad


def test_a_scale_that_changes_its_sign_counts_by_its_magnitude(
    module: S2Hand, batch: HandBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, estimates = module.reconstructor.encode(batch)
    turned = replace(code, scale=-code.scale)
    monkeypatch.setattr(module.reconstructor, "encode", lambda batch: (turned, estimates))
    refined = run(module, batch, 0)
    torch.testing.assert_close(refined.hand.code.scale, code.scale)


def test_each_frame_is_refined_as_if_it_were_alone(module: S2Hand, batch: HandBatch) -> None:
    few = Refinement(steps=3)
    both = refine_each(module.reconstructor, module.objective, batch, few)
    for i in range(2):
        alone = refine(module.reconstructor, module.objective, batch[i : i + 1], few)
        torch.testing.assert_close(both.hand.joints[i : i + 1], alone.hand.joints)
    assert not both.hand.joints.requires_grad


def test_each_frame_keeps_its_own_best_step_and_never_sees_labels(
    module: S2Hand, batch: HandBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def one(reconstructor, objective, frame: HandBatch, few: Refinement):
        sizes.append(len(frame.index))
        assert frame.labels is None
        return refine(reconstructor, objective, frame, few)

    monkeypatch.setattr(refinement, "refine", one)
    labels = Labels(torch.zeros(2, 1, 21, 3), torch.zeros(2, 1, 778, 3))
    labelled = replace(batch, labels=labels)
    refine_each(module.reconstructor, module.objective, labelled, Refinement(steps=1))
    assert sizes == [1, 1]
