"""Early stopping of an adaptation: keep the weights with the lowest 2D residual."""

from __future__ import annotations

import math

import pytorch_lightning as pl
import torch
from torch import Tensor

from s2hand.data.base import HandDataset
from s2hand.loss.base import detected_keypoints, weighted_mean
from s2hand.model.modes import evaluating
from s2hand.training.module import S2Hand
from s2hand.types import HandBatch


class BestResidual(pl.Callback):
    """Ends a run whose 2D residual no longer falls, and restores the best weights.

    The residual (ours) is the confidence-weighted distance of projected joints to detected
    keypoints, in pixels of the 224 crop, over frames spread evenly over the training set, with the
    model in evaluation mode. The initial weights are the first candidate, so by this measure a run
    never ends worse than it began.

    Args:
        every_n_steps: optimizer steps between two checks of the residual.
        patience: checks without an improvement after which the run ends.
        min_delta_px: smallest decrease that counts as an improvement; weights with a smaller
            decrease are kept, but do not reset the patience.
        frames: number of frames to measure on.

    Attributes:
        after_px: residual of the best weights.
        best_step: step of the best weights.
        checks: every (step, residual).
        converged: whether patience ended the run.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        every_n_steps: int = 25,
        patience: int = 8,
        min_delta_px: float = 0.05,
        frames: int = 64,
    ) -> None:
        if min(every_n_steps, patience, frames) < 1 or min_delta_px < 0:
            raise ValueError(
                f"every_n_steps={every_n_steps}, patience={patience}, frames={frames}, "
                f"min_delta_px={min_delta_px}: at least 1, 1, 1 and 0"
            )
        self.every_n_steps, self.patience = every_n_steps, patience
        self.min_delta_px, self.frames = min_delta_px, frames
        self.checks: list[tuple[int, float]] = []
        self.converged = False
        self.after_px, self.best_step = math.inf, 0
        self._goal_px, self._waited = math.inf, 0
        self._weights: dict[str, Tensor] = {}
        self._batch: HandBatch | None = None

    @property
    def before_px(self) -> float:
        """Residual of the initial weights."""
        return self.checks[0][1]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure the initial weights, the first candidate.

        Raises:
            ValueError: no keypoint is detected in the frames to measure on, or the residual is not
                finite.
        """
        dataset = trainer.datamodule.dataset("train")  # type: ignore[attr-defined]
        self._batch = spread_frames(dataset, self.frames).to(pl_module.device)
        if not self._batch.confidence.any():
            raise ValueError("no keypoint was detected in any frame: there is nothing to adapt to")
        self._check(trainer, pl_module)
        if not math.isfinite(self.before_px):
            raise ValueError(
                f"the 2D residual of the initial weights is not finite ({self.before_px}): "
                "start from another checkpoint, or from new heads (checkpoint=null)"
            )

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Measure every few steps; end the run when patience is exhausted."""
        if trainer.global_step - self.checks[-1][0] < self.every_n_steps:
            return
        self._check(trainer, pl_module)
        if self._waited >= self.patience:
            self.converged = trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure the last weights, then restore the best ones."""
        if trainer.global_step > self.checks[-1][0]:
            self._check(trainer, pl_module)
        self._restore(pl_module)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Restore the best weights; the last ones may have diverged."""
        self._restore(pl_module)

    def _check(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, S2Hand)
        assert self._batch is not None
        residual = residual_px(module, self._batch)
        self.checks.append((trainer.global_step, residual))
        if residual < self.after_px:
            self.after_px, self.best_step = residual, trainer.global_step
            self._weights = {k: v.detach().clone() for k, v in module.state_dict().items()}
        self._waited += 1
        if residual <= self._goal_px:
            self._goal_px, self._waited = residual - self.min_delta_px, 0

    def _restore(self, module: pl.LightningModule) -> None:
        if self._weights:
            module.load_state_dict(self._weights)


def spread_frames(dataset: HandDataset, count: int) -> HandBatch:
    """``count`` frames [count, 1, ...] spread evenly over a dataset, unlabelled."""
    count = min(count, len(dataset))
    samples = [dataset[i * len(dataset) // count].unlabelled() for i in range(count)]
    return HandBatch.stack(samples)


@torch.no_grad()
def residual_px(module: S2Hand, batch: HandBatch) -> float:
    """Confidence-weighted mean distance of projected joints to keypoints, pixels of the crop."""
    with evaluating(module):
        prediction = module(batch, render=False)
    errors = torch.linalg.vector_norm(prediction.joints_2d - detected_keypoints(batch), dim=-1)
    return float(weighted_mean(errors, batch.confidence))
