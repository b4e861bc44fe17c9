"""The residual, and which weights a run ends with."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from fixtures.frames import PlainFrames
from s2hand.fitting import stopping as adaptation
from s2hand.fitting.stopping import BestResidual, residual_px, spread_frames
from s2hand.training.module import S2Hand


class Shifted(nn.Module):
    """Predicts every keypoint ``by`` pixels to the right of where frame 0 has it."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by
        self.trained_in: list[bool] = []

    def forward(self, batch: Any, render: bool) -> Any:
        assert not render
        self.trained_in.append(self.training)
        truth = PlainFrames()[0].keypoints.expand(len(batch.index), 1, 21, 2)
        return SimpleNamespace(joints_2d=truth + torch.tensor([self.by, 0.0]))


def test_the_residual_is_a_mean_distance_weighted_by_confidence() -> None:
    batch = spread_frames(PlainFrames(), 1)
    keypoints, confidence = batch.keypoints.clone(), torch.zeros(1, 1, 21)
    confidence[..., :2] = torch.tensor([0.25, 0.75])
    keypoints[..., 1, 1] += 4  # from 3 px away to 5
    keypoints[..., 2:, :] = math.nan  # not detected, and means nothing
    batch = type(batch)(batch.image, keypoints, confidence, batch.camera, batch.index)
    module = Shifted(3)
    assert residual_px(module, batch) == pytest.approx(0.25 * 3 + 0.75 * 5)  # type: ignore[arg-type]
    assert module.trained_in == [False]
    assert module.training


def test_frames_are_spread_evenly_and_few_are_taken_once() -> None:
    assert spread_frames(PlainFrames(10), 4).index[:, 0].tolist() == [0, 2, 5, 7]
    assert spread_frames(PlainFrames(3), 64).index[:, 0].tolist() == [0, 1, 2]


class Weights(S2Hand):
    """A module whose only weight is the number of the step that made it."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.step = nn.Parameter(torch.tensor(0.0))


def follow(
    monkeypatch: pytest.MonkeyPatch, residuals: list[float], **options: Any
) -> tuple[BestResidual, Weights, int]:
    """A run of one step per residual, the first before any: callback, module, last step."""
    best, module = BestResidual(**{"every_n_steps": 1, **options}), Weights()
    coming = iter(residuals)
    monkeypatch.setattr(adaptation, "residual_px", lambda *_: next(coming))
    trainer: Any = SimpleNamespace(
        global_step=0, should_stop=False,
        datamodule=SimpleNamespace(dataset=lambda _: PlainFrames()),
    )  # fmt: skip
    monkeypatch.setattr(Weights, "device", torch.device("cpu"))
    best.on_train_start(trainer, module)
    for _ in residuals[1:]:
        trainer.global_step += 1
        module.step.data.fill_(trainer.global_step)
        best.on_train_batch_end(trainer, module, None, None, 0)
        if trainer.should_stop:
            break
    best.on_train_end(trainer, module)
    return best, module, trainer.global_step


def test_the_best_weights_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    best, module, last = follow(monkeypatch, [9.0, 5.0, 7.0, 6.0])
    assert (best.before_px, best.after_px, best.best_step, last) == (9.0, 5.0, 1, 3)
    assert module.step.item() == 1
    assert not best.converged
    assert best.checks == [(0, 9.0), (1, 5.0), (2, 7.0), (3, 6.0)]


def test_the_last_weights_are_a_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    best, module, _ = follow(monkeypatch, [9.0, 5.0], every_n_steps=10)
    assert best.checks == [(0, 9.0), (1, 5.0)]
    assert (best.after_px, module.step.item()) == (5.0, 1)


@pytest.mark.parametrize("worse", [9.5, math.nan, math.inf])
def test_the_weights_before_are_a_candidate(monkeypatch: pytest.MonkeyPatch, worse: float) -> None:
    best, module, _ = follow(monkeypatch, [9.0, worse, worse])
    assert (best.after_px, best.best_step, module.step.item()) == (9.0, 0, 0)


def test_patience_counts_looks_without_an_improvement_worth_the_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # 4.98 is lower than 5, and kept, but by less than 0.05; 4.9 is worth waiting on.
    residuals = [9.0, 5.0, 4.98, 4.9, 4.95, 4.88, 4.95, 1.0]
    best, module, last = follow(monkeypatch, residuals, patience=3, min_delta_px=0.05)
    assert (best.converged, last) == (True, 6)
    assert (best.after_px, module.step.item()) == (4.88, 5)


def test_an_error_leaves_the_best_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    best, module, _ = follow(monkeypatch, [9.0, 5.0])
    module.step.data.fill_(77)
    best.on_exception(SimpleNamespace(), module, RuntimeError())  # type: ignore[arg-type]
    assert module.step.item() == 1


def test_frames_without_any_keypoint_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind(PlainFrames):
        def __getitem__(self, index: int) -> Any:
            frame = super().__getitem__(index)
            return type(frame)(
                frame.image, frame.keypoints, 0 * frame.confidence, frame.camera, frame.index
            )

    monkeypatch.setattr(Weights, "device", torch.device("cpu"))
    trainer: Any = SimpleNamespace(datamodule=SimpleNamespace(dataset=lambda _: Blind()))
    with pytest.raises(ValueError, match="no keypoint was detected"):
        BestResidual().on_train_start(trainer, Weights())


@pytest.mark.parametrize("before", [math.nan, math.inf])
def test_weights_without_a_residual_are_refused(
    monkeypatch: pytest.MonkeyPatch, before: float
) -> None:
    with pytest.raises(ValueError, match="is not finite"):
        follow(monkeypatch, [before, 1.0])


@pytest.mark.parametrize("option", ["every_n_steps", "patience", "frames", "min_delta_px"])
def test_settings_that_cannot_be_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option}=-1"):
        BestResidual(**{option: -1})
