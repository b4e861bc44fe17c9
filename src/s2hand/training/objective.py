"""From a prediction to one number: the weighted sum of the terms in the `loss` list."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from s2hand.loss.base import Loss
from s2hand.loss.photometric import resize_image
from s2hand.types import HandBatch, Prediction


class Term(nn.Module):
    """A loss and its weight: the only place where the two meet."""

    fn: Loss

    def __init__(self, fn: Loss, weight: float) -> None:
        super().__init__()
        if not (weight > 0 and math.isfinite(weight)):
            raise ValueError(
                f"weight={weight} of {type(fn).__name__}: a weight is above 0; to switch a term "
                "off, leave it out of the `loss` list"
            )
        self.fn, self.weight = fn, float(weight)


@dataclass(frozen=True)
class LossReport:
    """What the objective says of one batch."""

    total: Float[Tensor, ""]
    """Weighted sum of the terms, to differentiate."""
    raw: dict[str, Float[Tensor, ""]]
    """Every term without its weight, detached, by its name in the `loss` list."""
    diagnostics: dict[str, Float[Tensor, ""]]
    """Further scalars for the log, detached, by ``<term>/<name>``."""


class NonFiniteLossError(RuntimeError):
    """A term became NaN or infinite; ``term``, ``value`` and the batch's ``indices`` tell where."""

    def __init__(self, term: str, value: float, indices: list[int]) -> None:
        super().__init__(term, value, indices)
        self.term, self.value, self.indices = term, value, indices

    def __str__(self) -> str:
        return (
            f"loss term {self.term!r} is {self.value} on the frames {self.indices} (index in the "
            "dataset): check their images and keypoints; if they are fine, training has diverged: "
            "lower the learning rate or clip the gradient"
        )


class Objective(nn.Module):
    """Weighted sum of loss terms, by name.

    Runs in float32 at least, also under autocast. Its ``state_dict`` is empty: a checkpoint loads
    whatever the losses were.
    """

    def __init__(self, terms: Mapping[str, Term]) -> None:
        super().__init__()
        if not terms:
            raise ValueError("an objective needs at least one term: name some in the `loss` list")
        self.terms = nn.ModuleDict(terms)

    @property
    def losses(self) -> dict[str, Loss]:
        """The losses by name, without weights."""
        return {name: term.fn for name, term in self.terms.items()}  # type: ignore[misc]

    def per_frame(self) -> Objective:
        """The objective without the terms that compare frames or read labels: for single images."""
        return self._of(lambda loss: loss.min_frames == 1 and not loss.needs_labels)

    def for_clips(self, frames: int) -> Objective:
        """The objective without the terms that compare more frames than a clip holds.

        Single images in a run on windows are told nothing of motion; all else counts as ever.

        Raises:
            ValueError: if no term is left.
        """
        if all(loss.min_frames <= frames for loss in self.losses.values()):
            return self
        if all(loss.min_frames > frames for loss in self.losses.values()):
            self.check_frames(frames)
        return self._of(lambda loss: loss.min_frames <= frames)

    def _of(self, keep: Callable[[Loss], bool]) -> Objective:
        kept = {
            name: Term(loss, self.terms[name].weight)  # type: ignore[arg-type]
            for name, loss in self.losses.items()
            if keep(loss)
        }
        return Objective(kept)

    @property
    def needs_render(self) -> bool:
        """Whether any term compares pixels."""
        return any(loss.needs_render for loss in self.losses.values())

    @property
    def needs_estimate(self) -> bool:
        """Whether any term reads the 2D estimator."""
        return any(loss.needs_estimate for loss in self.losses.values())

    @property
    def is_temporal(self) -> bool:
        """Whether any term compares frames."""
        return any(loss.min_frames > 1 for loss in self.losses.values())

    def check_frames(self, frames: int) -> None:
        """Raise unless windows of so many frames are enough for every term.

        Raises:
            ValueError: naming the first term that needs more, and the configuration to set.
        """
        for name, loss in self.losses.items():
            if frames < loss.min_frames:
                raise ValueError(
                    f"loss term {name!r} compares at least {loss.min_frames} frames, but a window "
                    f"holds {frames}: set a longer one, e.g. `window=clip5`, or leave it out of "
                    "the `loss` list"
                )

    def forward(self, prediction: Prediction, batch: HandBatch) -> LossReport:
        """Evaluate every term; only terms that declare it see ``batch.labels``.

        Raises:
            ValueError: the batch or prediction lacks what a term reads.
            NonFiniteLossError: a term is NaN or infinite.
        """
        self.check_frames(batch.confidence.shape[1])
        for name, loss in self.losses.items():
            _check_needs(name, loss, prediction, batch)
        if prediction.render is not None and self.needs_render:
            # Once for all terms: each would do it for itself, which costs more than the terms do.
            size = prediction.render.silhouette.shape[-2:]
            batch = replace(batch, image=resize_image(batch.image, *size))
        unlabelled = batch.unlabelled()
        raw, diagnostics = {}, {}
        with torch.autocast(batch.image.device.type, enabled=False):
            for name, loss in self.losses.items():
                raw[name] = loss(prediction, batch if loss.needs_labels else unlabelled)
                for key, value in loss.diagnostics(prediction, unlabelled).items():
                    diagnostics[f"{name}/{key}"] = value.detach()
        _check_finite(raw, batch)
        weighted = [self.terms[name].weight * value for name, value in raw.items()]
        detached = {name: value.detach() for name, value in raw.items()}
        return LossReport(torch.stack(weighted).sum(), detached, diagnostics)


def _check_needs(name: str, loss: Loss, prediction: Prediction, batch: HandBatch) -> None:
    """Raise, naming the term and the remedy, if something that ``loss`` reads is missing."""
    missing = None
    if loss.needs_render and prediction.render is None:
        missing = "compares pixels, but the hand was not rendered: call the model with render=True"
    elif loss.needs_estimate and not prediction.estimated_joints_2d:
        missing = (
            "reads a 2D estimator, but the model has none: set `model.network.keypoint_net=light`"
        )
    elif loss.needs_labels and batch.labels is None:
        missing = "reads 3D labels, but this batch has none: choose data with labels"
    if missing:
        raise ValueError(f"loss term {name!r} {missing}, or leave it out of the `loss` list")


def _check_finite(raw: dict[str, Tensor], batch: HandBatch) -> None:
    # One look at all terms: each would make a GPU wait.
    if not torch.stack([value.detach() for value in raw.values()]).isfinite().all():
        name, value = next((n, v) for n, v in raw.items() if not v.isfinite())
        raise NonFiniteLossError(name, float(value.detach()), batch.index.flatten().tolist())
