"""The training objective: the weighted sum of the terms in the `loss` list."""

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
    """A loss with its weight; losses themselves are unweighted.

    Raises:
        ValueError: the weight is not finite and above 0.
    """

    fn: Loss

    def __init__(self, fn: Loss, weight: float) -> None:
        super().__init__()
        if not (weight > 0 and math.isfinite(weight)):
            raise ValueError(
                f"weight={weight} of {type(fn).__name__}: a weight is above 0; to switch a term "
                "off, remove it from the `loss` list"
            )
        self.fn, self.weight = fn, float(weight)


@dataclass(frozen=True)
class LossReport:
    """The value of the objective on one batch."""

    total: Float[Tensor, ""]
    """Weighted sum of the terms, differentiable."""
    raw: dict[str, Float[Tensor, ""]]
    """The unweighted terms, detached, by name."""
    diagnostics: dict[str, Float[Tensor, ""]]
    """Additional scalars for the log, detached, by ``<term>/<name>``."""


class NonFiniteLossError(RuntimeError):
    """A term is NaN or infinite.

    Attributes:
        term: its name.
        value: its value.
        indices: dataset indices of the batch's frames.
    """

    def __init__(self, term: str, value: float, indices: list[int]) -> None:
        super().__init__(term, value, indices)
        self.term, self.value, self.indices = term, value, indices

    def __str__(self) -> str:
        return (
            f"loss term {self.term!r} is {self.value} on frames {self.indices} (dataset indices): "
            "check their images and keypoints; if they are valid, training has diverged: lower "
            "the learning rate or clip the gradient"
        )


class Objective(nn.Module):
    """Weighted sum of named loss terms.

    Terms are computed in float32 or higher, also under autocast. The ``state_dict`` is empty, so a
    checkpoint loads under any losses.

    Raises:
        ValueError: there is no term.

    Example:
        >>> from s2hand.loss.keypoints import JointLocation
        >>> from s2hand.loss.motion import JointAcceleration
        >>> motion = Term(JointAcceleration(), weight=0.1)
        >>> objective = Objective({"joints": Term(JointLocation(), weight=1e-3), "motion": motion})
        >>> objective.is_temporal, objective.needs_render
        (True, False)
        >>> list(objective.for_clips(1).losses)  # single images
        ['joints']
    """

    def __init__(self, terms: Mapping[str, Term]) -> None:
        super().__init__()
        if not terms:
            raise ValueError("an objective needs at least one term: add one to the `loss` list")
        self.terms = nn.ModuleDict(terms)

    @property
    def losses(self) -> dict[str, Loss]:
        """The unweighted losses by name."""
        return {name: term.fn for name, term in self.terms.items()}  # type: ignore[misc]

    def per_frame(self) -> Objective:
        """The objective for single unlabelled images: no temporal and no supervised terms."""
        return self._of(lambda loss: loss.min_frames == 1 and not loss.needs_labels)

    def for_clips(self, frames: int) -> Objective:
        """The objective without the terms that compare more than ``frames`` frames.

        Single images in a video run skip the temporal terms.

        Raises:
            ValueError: no term is left.
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
        """Raise unless windows of ``frames`` frames are long enough for every term.

        Raises:
            ValueError: names the first term that needs more, and the configuration to set.
        """
        for name, loss in self.losses.items():
            if frames < loss.min_frames:
                raise ValueError(
                    f"loss term {name!r} compares at least {loss.min_frames} frames, but a window "
                    f"holds {frames}: set a longer one, e.g. `window=clip5`, or remove the term "
                    "from the `loss` list"
                )

    def forward(self, prediction: Prediction, batch: HandBatch) -> LossReport:
        """Evaluate every term; only terms with ``needs_labels`` get ``batch.labels``.

        Raises:
            ValueError: the batch or the prediction lacks an input of a term.
            NonFiniteLossError: a term is NaN or infinite.
        """
        self.check_frames(batch.confidence.shape[1])
        for name, loss in self.losses.items():
            _check_needs(name, loss, prediction, batch)
        if prediction.render is not None and self.needs_render:
            # Resized once for all terms; once per term would cost more than the terms themselves.
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
    """Raise ValueError with the remedy if an input of ``loss`` is missing."""
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
        raise ValueError(f"loss term {name!r} {missing}, or remove it from the `loss` list")


def _check_finite(raw: dict[str, Tensor], batch: HandBatch) -> None:
    # One check for all terms: every check synchronises with the GPU.
    if not torch.stack([value.detach() for value in raw.values()]).isfinite().all():
        name, value = next((n, v) for n, v in raw.items() if not v.isfinite())
        raise NonFiniteLossError(name, float(value.detach()), batch.index.flatten().tolist())
