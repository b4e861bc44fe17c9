"""Test-time refinement: fit the code of each frame to its own detections and pixels."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch

from s2hand.model.reconstructor import Reconstructor
from s2hand.training.objective import Objective
from s2hand.types import HandBatch, HandCode, Prediction


@dataclass(frozen=True)
class Refinement:
    """Settings of test-time refinement (METHOD: about 150 Adam steps on the code of one image).

    ``lr`` is in the units of the code per step: radians, metres and colours all change by about
    this much, so it is small.
    """

    steps: int = 150
    lr: float = 5e-3


def refine(
    reconstructor: Reconstructor,
    objective: Objective,
    batch: HandBatch,
    refinement: Refinement,
) -> Prediction:
    """Predict, then optimise the codes of a batch under the self-supervised losses.

    The network and its 2D estimates J^est do not change. The result is the code with the lowest
    total loss seen, so by that measure it is never worse than the prediction.

    Args:
        reconstructor: gives the initial codes and renders.
        objective: its temporal and supervised terms are skipped.
        batch: frames [b, t, ...], all optimised together.
        refinement: steps and learning rate.

    Example:
        >>> import s2hand
        >>> from s2hand.data.synthetic.images import SyntheticHands
        >>> model = s2hand.load("pretrained", **{"model.renderer.resolution": 32})
        >>> hand, renderer = model.reconstructor.hand, model.reconstructor.renderer
        >>> images = SyntheticHands(hand, renderer, "test", size=1, image_px=64, cache=False)
        >>> batch, single = HandBatch.stack([images[0]]), model.objective.per_frame()
        >>> refined = refine(model.reconstructor, model.objective, batch, Refinement(steps=2))
        >>> bool(single(refined, batch).total <= single(model(batch), batch).total)
        True
    """
    objective = objective.per_frame()
    with torch.no_grad():
        start, estimates = reconstructor.encode(batch)
    code = start.map(lambda x: x.detach().clone().requires_grad_(True))
    leaves = [getattr(code, field.name) for field in fields(code)]
    optimizer = torch.optim.Adam(leaves, lr=refinement.lr)
    best, best_code = float("inf"), start
    # Prediction loops call this under no_grad.
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
    """Refine each frame alone: the result does not depend on the other frames of the batch."""
    frames = [batch[i : i + 1].unlabelled() for i in range(len(batch.index))]
    refined = [refine(reconstructor, objective, frame, refinement) for frame in frames]
    return Prediction.cat(refined).detach()


def _positive(code: HandCode) -> HandCode:
    """The code with a positive scale, as the network predicts it."""
    return replace(code, scale=code.scale.abs())
