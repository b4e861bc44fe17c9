"""One checkpoint under a change: what a row of an ablation may say, and the model it stands for."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from s2hand.build import configured, make_module
from s2hand.checkpoint import HandModelMismatchError, check_hand, load_weights
from s2hand.cli.app import known_losses
from s2hand.model.reconstructor import Reconstructor
from s2hand.module import S2Hand
from s2hand.objective import Objective
from s2hand.refine import Refinement, refine
from s2hand.types import HandBatch, Prediction


@dataclass
class Finetune:
    """Train on from the checkpoint, as ``s2hand-train init_from=`` does, before measuring."""

    steps: int = 200
    loss: dict[str, float | None] = field(default_factory=dict)
    """Weights by name; null leaves a loss out, one that was not there is added."""


@dataclass
class Change:
    """A row of an ablation: all that is not as it was. Several changes go together."""

    branch_2d: bool = True
    """False: a network without its 2D estimator, and no loss that reads it."""
    hand: str | None = None
    """Another hand model file; the test data stay those of the checkpoint's own."""
    allow_other_hand: bool = False
    """Measure it although the codes of one hand mean nothing under another."""
    data: list[str] = field(default_factory=list)
    """Overrides as ``s2hand-evaluate`` takes them: ``data=freihand``, ``+data.test.size=64``."""
    noise_px: float = 0.0
    """Of the detections, see :class:`s2hand.data.corrupted.CorruptedDetections`."""
    drop: float = 0.0
    refine_steps: int = 0
    """Test-time refinement of every frame's code, as ``s2hand-predict`` has it."""
    finetune: Finetune | None = None

    def words(self) -> str:
        """The change in one line."""
        said = ["without the 2D branch"] * (not self.branch_2d)
        said += [f"hand {self.hand}"] * (self.hand is not None)
        said += [" ".join(self.data)] * bool(self.data)
        said += [f"detections + {self.noise_px:g} px"] * (self.noise_px > 0)
        said += [f"{100 * self.drop:g} % of detections lost"] * (self.drop > 0)
        if self.finetune is not None:
            said.append(f"{self.finetune.steps} more steps")
            changed = self.finetune.loss.items()
            said += [f"no {name}" if w is None else f"{name} {w:g}" for name, w in changed]
        said += [f"refined, {self.refine_steps} steps"] * (self.refine_steps > 0)
        return "; ".join(said) or "as it is"


def read_changes(rows: Any, known: Any) -> dict[str, Change]:
    """The rows that were asked for, by name, of those that the configuration knows.

    Raises:
        ValueError: a row that is not known, or twice there, or changes something that is not there.
    """
    names = [str(name) for name in rows]
    changes: dict[str, Change] = {}
    for name in names:
        if name not in known:
            raise ValueError(
                f"rows: no row named {name!r}; there are {', '.join(map(str, known))}; define it "
                f"as '+ablation.{name}={{...}}'"
            )
        if name in changes or not name.replace("_", "").replace("-", "").replace(".", "").isalnum():
            raise ValueError(
                f"rows: {name!r} is named twice, or is no name for a folder (letters, digits, _.-)"
            )
        changes[name] = _read_change(name, known[name])
    if not changes:
        raise ValueError("rows is empty: name at least one, e.g. rows=[full]")
    return changes


def _read_change(name: str, given: Any) -> Change:
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Change), given or {})
        change = OmegaConf.to_object(merged)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"ablation.{name}: {reason}; a row has {', '.join(_KEYS)}") from error
    assert isinstance(change, Change)
    problem = None
    if change.refine_steps < 0:
        problem = f"refine_steps={change.refine_steps}: 0 or more"
    elif change.finetune is not None and change.finetune.steps < 1:
        problem = f"finetune.steps={change.finetune.steps}: 1 or more"
    elif change.finetune is not None and change.hand is not None:
        problem = "a fine-tune keeps the checkpoint's hand: codes of another one are not learnt on"
    if problem:
        raise ValueError(f"ablation.{name}: {problem}")
    return change


_KEYS = tuple(asdict(Change()))


def changed_losses(
    loss: Mapping[str, Any], change: Change, scale_target_m: float
) -> dict[str, Any]:
    """The configuration of the losses of a row: ``loss`` without or with what the row says.

    Raises:
        ValueError: the row leaves out what is not there, or adds what is not known.
    """
    terms = copy.deepcopy(dict(loss))
    for name, weight in (change.finetune.loss if change.finetune else {}).items():
        if weight is None and name not in terms:
            raise ValueError(
                f"finetune.loss.{name}=null: the checkpoint was trained without it; its losses are "
                f"{', '.join(terms)}"
            )
        if weight is None:
            del terms[name]
            continue
        if name not in terms:
            terms[name] = _new_loss(name, scale_target_m)
        terms[name]["weight"] = weight
    if not change.branch_2d:
        losses: dict[str, Any] = {n: get_class(t["fn"]["_target_"]) for n, t in terms.items()}
        terms = {name: term for name, term in terms.items() if not losses[name].needs_estimate}
    return terms


def _new_loss(name: str, scale_target_m: float) -> dict[str, Any]:
    """A loss as its file in conf/loss has it."""
    if name not in known_losses():
        raise ValueError(f"no loss named {name!r}; there are {', '.join(known_losses())}")
    text = (files("s2hand.conf") / "loss" / f"{name}.yaml").read_text(encoding="utf-8")
    cfg = OmegaConf.merge(OmegaConf.create(text), {"scale_target_m": scale_target_m})
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    term: dict[str, Any] = content[name]
    return term


def rebuilt(checkpoint: dict[str, Any], path: str, cfg: DictConfig, change: Change) -> S2Hand:
    """The module of a checkpoint under ``cfg`` (see :func:`s2hand.build.configured`), evaluating.

    Raises:
        CheckpointError: its weights are not those of the network; ``path`` is for the message.
        HandModelMismatchError: another hand, and the row does not allow it.
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
            remedy = "to measure it all the same, give the row allow_other_hand: true"
            raise HandModelMismatchError(f"{error}; {remedy}") from error
    load_weights(module, checkpoint, path)
    if change.refine_steps:
        settings = Refinement(change.refine_steps)
        module.reconstructor = Refined(module.reconstructor, module.objective, settings)
    return module.eval()


def without_branch(
    checkpoint: dict[str, Any], path: str, loss: dict[str, Any], hand: str | None = None
) -> dict[str, Any]:
    """The checkpoint of the same network without its 2D estimator, and with these losses.

    A regressor that reads the estimates (``CompactNetwork``) takes them behind its pooled features.
    It loses the columns of its weights that belong to them: the same as estimates that are all
    zero, joints in the middle of the crop and no peak. Everything else stays as it is.

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
    """A reconstructor whose word on every frame is refined against that frame (``refine.py``)."""

    def __init__(self, start: Reconstructor, objective: Objective, refinement: Refinement) -> None:
        super().__init__(start.network, start.hand, start.renderer, start.camera)
        self.base = start.base
        self.objective, self.refinement = objective, refinement

    def forward(
        self, batch: HandBatch, render: bool = True, resolution: int | None = None
    ) -> Prediction:
        """Encode, refine and decode, each frame for itself."""
        # One by one: the best code of a frame is then its own, whatever it was batched with.
        frames = [batch[i : i + 1].unlabelled() for i in range(len(batch.index))]
        refined = [refine(self, self.objective, f, self.refinement) for f in frames]
        prediction = Prediction.cat(refined).detach()
        return prediction if render else replace(prediction, render=None)
