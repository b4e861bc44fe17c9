"""The model of a checkpoint under a change: another hand, without a part, refined."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig

from s2hand.fitting.refinement import Refinement, refine_each
from s2hand.model.reconstructor import Reconstructor
from s2hand.studies.ablation.rows import Change
from s2hand.training.build import configured, make_module
from s2hand.training.checkpoints.reading import HandModelMismatchError, check_hand, load_weights
from s2hand.training.module import S2Hand
from s2hand.training.objective import Objective
from s2hand.types import HandBatch, Prediction


def rebuilt(checkpoint: dict[str, Any], path: str, cfg: DictConfig, change: Change) -> S2Hand:
    """The module of a checkpoint under ``cfg``, in evaluation mode.

    ``cfg`` comes from :func:`s2hand.training.build.configured`.

    Raises:
        CheckpointError: the weights do not fit the network; ``path`` is for the message.
        HandModelMismatchError: the hand differs, and the row does not allow it.
    """
    cfg = copy.deepcopy(cfg)
    if change.hand is not None:
        cfg.model.hand.model = change.hand
    module = make_module(cfg)
    if not change.allow_other_hand:
        hand = module.reconstructor.hand
        try:
            check_hand(checkpoint, hand.name, hand.fingerprint)
        except HandModelMismatchError as error:
            remedy = "to measure it anyway, give the row allow_other_hand: true"
            raise HandModelMismatchError(f"{error}; {remedy}") from error
    load_weights(module, checkpoint, path)
    if change.refine_steps:
        settings = Refinement(change.refine_steps)
        module.reconstructor = Refined(module.reconstructor, module.objective, settings)
    return module.eval()


def without_branch(
    checkpoint: dict[str, Any], path: str, loss: dict[str, Any], hand: str | None = None
) -> dict[str, Any]:
    """The checkpoint without its 2D estimator, and with the losses ``loss``.

    The regressor of ``CompactNetwork`` appends the estimates to its pooled features. The weight
    columns of the estimates are removed, which equals estimates of zero: joints in the middle of
    the crop and no peak. All other weights are unchanged.

    Raises:
        ValueError: the network has no 2D estimator.
    """
    cfg = configured(checkpoint, path, hand)
    if cfg.model.network.keypoint_net == "none":
        raise ValueError(f"{path} has no 2D branch (its network has keypoint_net=none)")
    cfg.model.network.keypoint_net = "none"
    cfg.loss = loss
    module = make_module(cfg)
    had = checkpoint["state_dict"]
    state = {
        name: had[name][:, : value.shape[1]] if value.ndim > 1 else had[name]
        for name, value in module.state_dict().items()
    }
    record = checkpoint["s2hand"] | {"config": module.record["config"]}
    return {"state_dict": state, "s2hand": record}


class Refined(Reconstructor):
    """A reconstructor with per-frame test-time refinement."""

    def __init__(self, start: Reconstructor, objective: Objective, refinement: Refinement) -> None:
        super().__init__(start.network, start.hand, start.renderer, start.camera)
        self.base = start.base
        self.objective, self.refinement = objective, refinement

    def forward(
        self, batch: HandBatch, render: bool = True, resolution: int | None = None
    ) -> Prediction:
        """Encode, refine and decode every frame alone."""
        prediction = refine_each(self, self.objective, batch, self.refinement)
        return prediction if render else replace(prediction, render=None)
