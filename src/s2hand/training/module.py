"""The LightningModules: predict, loop over the losses, log, sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.utilities import GradClipAlgorithmType
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from s2hand import __version__
from s2hand.data.sampling import batches_seen, local_count
from s2hand.metric.hands import HandMetrics
from s2hand.metric.protocols import BenchmarkMetrics
from s2hand.metric.sequences import SequenceMetrics
from s2hand.model.reconstructor import Reconstructor
from s2hand.training.checkpoints.reading import FORMAT, check_hand
from s2hand.training.objective import Objective
from s2hand.types import HandBatch, HandCode, Prediction


class S2Hand(pl.LightningModule):
    """S2HAND on clips of any length; an image is a clip of one frame.

    Args:
        reconstructor: batch to prediction.
        objective: prediction to loss.
        optimizer: makes the optimizer from parameters.
        schedule: makes the learning-rate schedule from (optimizer, total_steps).
        augment: applied to training batches on the device, or None.
        record: plain values (resolved config, revision) written into every checkpoint under
            ``s2hand``, from which :func:`s2hand.load` rebuilds the model.
    """

    def __init__(
        self,
        reconstructor: Reconstructor,
        objective: Objective,
        optimizer: Callable[..., Optimizer],
        schedule: Callable[..., LRScheduler],
        augment: nn.Module | None = None,
        record: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.reconstructor, self.objective, self.augment = reconstructor, objective, augment
        self.make_optimizer, self.make_schedule = optimizer, schedule
        self.record = record or {}
        self.metrics = nn.ModuleDict(
            {
                "val": HandMetrics(mesh=False),
                "test": HandMetrics(),
                "mean_pose": HandMetrics(mesh=False),
                "sequences": SequenceMetrics(),
            }
        )
        self._has_sequences = False
        self._remaining = 0
        self.protocol: str | None = None
        """Name of the benchmark protocol for tests; None uses that of the test set."""
        self._benchmark: BenchmarkMetrics | None = None

    def forward(self, batch: HandBatch, render: bool = True) -> Prediction:
        """Reconstruct the hands of a batch."""
        return self.reconstructor(batch, render)

    def training_step(self, batch: HandBatch, batch_idx: int) -> Tensor:
        """One step on detections and pixels; logs every unweighted term and the total.

        Clips skip the terms that compare more frames than they hold: data may mix windows and
        images.
        """
        batch = self._augmented(batch)
        objective = self.objective.for_clips(batch.confidence.shape[1])
        prediction = self.reconstructor(batch, render=objective.needs_render)
        report = objective(prediction, batch)
        terms = {"loss": report.total.detach()} | report.raw | report.diagnostics
        logged = {f"train/{name}": value for name, value in self._averaged(terms).items()}
        self.log_dict(logged, batch_size=len(batch.image))
        return report.total

    def _averaged(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scalars averaged over all processes in one collective."""
        if self.trainer.world_size == 1:
            return values
        local = torch.stack([value.float() for value in values.values()])
        means = self.trainer.strategy.reduce(local, reduce_op="mean")
        return dict(zip(values, means, strict=True))

    def _augmented(self, batch: HandBatch) -> HandBatch:
        """Augment with a seed from (seed, batches seen, process), so that resumed runs match."""
        if self.augment is None:
            return batch
        source = [torch.initial_seed(), batches_seen(self.trainer), self.global_rank]
        seed = np.random.SeedSequence(source).generate_state(1, np.uint64)[0]
        # bfloat16 pixel transforms are off by whole pixels, and cannot be inverted.
        full = torch.autocast(batch.image.device.type, enabled=False)
        with full, torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(seed))
            augmented: HandBatch = self.augment(batch)
        return augmented

    def on_validation_epoch_start(self) -> None:
        """Set up the metrics: the validation set's sequences and this process's frame count."""
        self._begin("val")

    def on_test_epoch_start(self) -> None:
        """Set up the metrics: the test set's sequences, its benchmark, this process's frames."""
        self._begin("test")
        frames = self.trainer.datamodule.dataset("test")  # type: ignore[attr-defined]
        name = self.protocol or frames.protocol
        self._benchmark = None if name is None else BenchmarkMetrics(name).to(self.device)

    def _begin(self, split: str) -> None:
        frames = self.trainer.datamodule.dataset(split)  # type: ignore[attr-defined]
        self._remaining = local_count(len(frames), self.trainer.world_size, self.global_rank)
        metric: Any = self.metrics["sequences"]
        metric.reset()
        metric.segments = [run for run in frames.segments() if len(run) > 2]
        metric.fps = frames.fps
        self._has_sequences = bool(metric.segments)

    def validation_step(self, batch: HandBatch, batch_idx: int) -> None:
        """Update the metrics; nothing is rendered."""
        self._measure("val", batch)

    def test_step(self, batch: HandBatch, batch_idx: int) -> None:
        """Update the metrics, including mesh metrics and those of the mean pose."""
        counted = self._measure("test", batch)
        if batch.labels is not None:
            mean = mean_hand(self.reconstructor, batch)
            self.metrics["mean_pose"].update(mean[:counted], batch[:counted])  # type: ignore[operator]

    def _measure(self, split: str, batch: HandBatch) -> int:
        """Update the metrics; return how many frames counted.

        Repeats, which fill up the last batch of a process, do not count: another process has them.
        """
        counted = min(self._remaining, len(batch.index))
        self._remaining -= counted
        prediction, batch = self.reconstructor(batch, render=False)[:counted], batch[:counted]
        self.metrics[split].update(prediction, batch)  # type: ignore[operator]
        if self._has_sequences:
            self.metrics["sequences"].update(prediction, batch)  # type: ignore[operator]
        if split == "test" and self._benchmark is not None and batch.labels is not None:
            hand, labels = prediction.hand.fold(), batch.labels.fold()
            left = None if batch.left is None else batch.left.flatten()
            self._benchmark.update(
                hand.joints, labels.joints, hand.vertices, labels.vertices, labels.visible, left
            )
        return counted

    def on_validation_epoch_end(self) -> None:
        """Log ``val/...``."""
        self._log_split("val")

    def on_test_epoch_end(self) -> None:
        """Log ``test/...``, and ``mean_pose/...`` if there were labels.

        ``test/<protocol>/...`` are the results of the test set's benchmark.
        """
        self._log_split("test")
        if self._benchmark is not None and self._benchmark.update_called:
            self._log_values(f"test/{self._benchmark.name}", self._benchmark)
        if self.metrics["mean_pose"].update_called:
            self._log_metrics("mean_pose", "mean_pose")

    def _log_split(self, split: str) -> None:
        self._log_metrics(split, split)
        if self._has_sequences:
            self._log_metrics(split, "sequences")

    def _log_metrics(self, prefix: str, name: str) -> None:
        self._log_values(prefix, self.metrics[name])

    def _log_values(self, prefix: str, metric: Any) -> None:
        values = metric.compute()
        self.log_dict({f"{prefix}/{key}": value.float() for key, value in values.items()})
        metric.reset()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The configured optimizer on all parameters that are not frozen, scheduled per step."""
        trainable = [p for p in self.parameters() if p.requires_grad]
        optimizer = self.make_optimizer(trainable)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = self.make_schedule(optimizer, total_steps=steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients, in bfloat16 too.

        Lightning refuses to clip for fused optimizers in mixed precision, because they unscale the
        gradients themselves; bfloat16 gradients are not scaled.
        """
        if self.trainer.precision != "bf16-mixed":
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        Precision.clip_gradients(
            self.trainer.precision_plugin,
            optimizer,
            gradient_clip_val or 0.0,
            GradClipAlgorithmType(gradient_clip_algorithm or "norm"),
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the record from which the model is rebuilt: plain values only, no pickled objects."""
        metrics = self.trainer.callback_metrics if self._trainer is not None else {}
        checkpoint["s2hand"] = {
            "format": FORMAT,
            "version": __version__,
            "hand": {
                "name": self.reconstructor.hand.name,
                "fingerprint": self.reconstructor.hand.fingerprint,
            },
            "metrics": {name: float(value) for name, value in metrics.items()},
            **self.record,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the codes of another hand model."""
        check_hand(checkpoint, self.reconstructor.hand.name, self.reconstructor.hand.fingerprint)


class S2HandVideo(S2Hand):
    """S2HAND(V): the same network and step on windows of a video, with temporal terms.

    Its weights are those of :class:`S2Hand`: image checkpoints load into it strictly
    (``init_from``), and its checkpoints load for single images.
    """

    def on_fit_start(self) -> None:
        """Refuse windows that are too short for a temporal term before training starts.

        Raises:
            ValueError: names the term and the configuration to set.
        """
        frames = self.trainer.datamodule.window.frames  # type: ignore[attr-defined]
        self.objective.check_frames(frames)


@torch.no_grad()
def mean_hand(reconstructor: Reconstructor, batch: HandBatch) -> Prediction:
    """The baseline without input: mean pose, mean shape and a fixed placement (0.65 m away)."""
    b, t = batch.confidence.shape[:2]

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(b, t, *shape, device=batch.image.device)

    hand = reconstructor.hand
    code = HandCode(
        pose=zeros(hand.num_pca), shape=zeros(10), scale=zeros(1) + 1, rotation=zeros(3),
        translation=zeros(3) + zeros(3).new_tensor([0, 0, 0.65]), texture=zeros(778, 3),
        light=zeros(11),
    )  # fmt: skip
    return reconstructor.decode(
        code, batch.camera, render=False, convention=batch.convention, left=batch.left
    )
