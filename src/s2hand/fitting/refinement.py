"""Test-time refinement: fit the code of each frame to its own detections and pixels."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch

from s2hand.model.reconstructor import Reconstructor
from s2hand.training.objective import Objective
from s2hand.types import HandBatch, HandCode, Prediction


@dataclass(frozen=True)
class Refinement:
    """How to refine (METHOD: about 150 Adam steps on the code of one image).

    ``lr`` is in the code's own units per step: radians, metres and colours all move by about this
    much, which is why it is small.
    """

    steps: int = 150
    lr: float = 5e-3


def refine(
    reconstructor: Reconstructor,
    objective: Objective,
    batch: HandBatch,
    refinement: Refinement,
) -> Prediction:
    """Predict, then improve every frame's code against the same self-supervised losses.

    The network stays as it is; J^est, where there is one, stays what the network said. The result
    is the code of the lowest total loss seen, so it is never worse than the prediction by that
    measure.
    """
    objective = objective.per_frame()
    with torch.no_grad():
        start, estimates = reconstructor.encode(batch)
    code = start.map(lambda x: x.detach().clone().requires_grad_(True))
    leaves = [getattr(code, field.name) for field in fields(code)]
    optimizer = torch.optim.Adam(leaves, lr=refinement.lr)
    best, best_code = float("inf"), start
    # Needed when the caller runs under no_grad, as prediction loops do.
    with torch.enable_grad():
        for step in range(refinement.steps + 1):
            prediction = reconstructor.decode(
                _positive(code), batch.camera, estimates, objective.needs_render,
                convention=batch.convention, left=batch.left,
            )  # fmt: skip
            total = objective(prediction, batch).total
            if total.item() < best:
                best, best_code = total.item(), _positive(code).map(lambda x: x.detach().clone())
            if step < refinement.steps:
                optimizer.zero_grad()
                total.backward()
                optimizer.step()
    with torch.no_grad():
        return reconstructor.decode(
            best_code, batch.camera, estimates, convention=batch.convention, left=batch.left
        )


def refine_each(
    reconstructor: Reconstructor,
    objective: Objective,
    batch: HandBatch,
    refinement: Refinement,
) -> Prediction:
    """Refine each frame for itself: its best code is its own, whatever it was batched with."""
    frames = [batch[i : i + 1].unlabelled() for i in range(len(batch.index))]
    refined = [refine(reconstructor, objective, frame, refinement) for frame in frames]
    return Prediction.cat(refined).detach()


def _positive(code: HandCode) -> HandCode:
    """The code with its scale's magnitude, as the network gives it."""
    return replace(code, scale=code.scale.abs())
